//! A fleet from nothing to its scenario's end.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ring::rand::{SecureRandom, SystemRandom};
use tracing::info;

use crate::commands::Outcome;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::simulator::admin::Admin;
use crate::simulator::cli::Scenario;
use crate::simulator::device::Device;
use crate::simulator::operations::Validation;
use crate::simulator::plan::FleetPlan;
use crate::simulator::progress::Progress;
use crate::simulator::record::Recorder;
use crate::simulator::stopping::Stop;
use crate::simulator::summary::{Phase, Summary};
use crate::simulator::world::World;
use crate::simulator::{scenario, schedule};

/// Enrols the fleet, plays the scenario, and says what came of it.
///
/// # Errors
/// When there is nothing to begin with: no trust in the server, no metrics where they were asked for.
pub fn run(plan: &FleetPlan, stop: &Stop, out: &mut dyn Write) -> Outcome {
    let roots = plan.target.roots()?;
    let validation_before = plan.ops_url.as_deref().map(Validation::fetch).transpose()?;
    let admin = Admin::new(&plan.target, &roots, plan.admin_token.clone(), plan.concurrency as usize);
    let seed = plan.seed.map_or_else(draw_seed, Ok)?;
    let world = World { plan, roots, admin, recorder: Recorder::default(), stop, seed };
    info!(devices = plan.devices, scenario = plan.scenario.as_str(), seed, "enrolling");

    let begun = Instant::now();
    let devices = enrol(&world);
    let enrolment = Phase { took: begun.elapsed(), requests: world.recorder.snapshot().requests() };
    let begun = Instant::now();
    if !stop.is_set() && !devices.is_empty() {
        scenario::play(&world, &devices);
    }
    let took = begun.elapsed();
    let record = world.recorder.snapshot();
    let validation = match (&plan.ops_url, validation_before) {
        (Some(ops_url), Some(before)) => Some(Validation::fetch(ops_url)?.since(&before)),
        _ => None,
    };
    let summary = Summary {
        plan,
        seed,
        enrolled: devices.len(),
        enrolment,
        scenario: Phase { took, requests: record.requests() - enrolment.requests },
        record,
        validation,
        interrupted: stop.is_set(),
    };
    let text = if plan.json { summary.json().to_string() } else { summary.text() };
    writeln!(out, "{text}").map_err(|error| Failure::system("cannot write the output", error))?;
    Ok(if summary.held() { Exit::Fine } else { Exit::Failed })
}

/// All devices that came to their first heartbeat by certificate.
fn enrol(world: &World<'_>) -> Vec<Mutex<Device>> {
    let plan = world.plan;
    let places: Vec<Mutex<Option<Device>>> = (0..plan.devices).map(|_| Mutex::default()).collect();
    let progress = Progress::new("enrolling", Some(plan.devices.into()));
    let loses_answers = plan.scenario == Scenario::Flapping;
    let arrival = |number: usize| plan.arrival(number);
    schedule::run(&places, plan.concurrency, world.stop, arrival, |number, place| {
        match Device::enrol(world, number, loses_answers) {
            Ok(device) => *place = Some(device),
            Err(_) if world.stop.is_set() => {}
            Err(failure) => world.recorder.violation(format!("device {} was not enrolled: {failure}", number + 1)),
        }
        progress.step();
        None
    });
    progress.finish();
    let enrolled = places.into_iter().filter_map(|place| place.into_inner().unwrap_or_else(PoisonError::into_inner));
    enrolled.map(Mutex::new).collect()
}

fn draw_seed() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|error| Failure::system("cannot draw a seed", error.to_string()))?;
    // Short enough to be typed, and for every reader of JSON.
    Ok(u64::from_le_bytes(bytes) >> 32)
}
