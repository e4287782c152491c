//! A log that somebody has rewritten by hand is not believed.

use crate::device::Device;
use crate::server::{Site, remove_projections};

#[test]
fn an_event_that_was_changed_in_the_file_is_noticed_and_nobody_is_let_in_on_its_word() {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    device.beat(&device.by_key(&server)).expect(200);
    server.stop();
    assert!(site.run(&["events", "export"]).status.success());

    assert!(change_device_name(&site) > 0, "nothing was changed");
    let export = site.run(&["events", "export"]);
    let said = String::from_utf8(export.stderr).unwrap();
    assert_eq!(export.status.code(), Some(1), "{said}");
    assert!(said.contains("damaged") && said.contains("hash"), "{said}");

    remove_projections(&site.data_dir());
    let server = site.launch().expect("the process stays up");
    assert_eq!(server.readiness(), 503);
    device.beat(&device.by_key(&server)).refused(503, "AUTH_STATE_STALE");
}

/// Gives the device another name in the log's file, where it stands in two events.
fn change_device_name(site: &Site) -> usize {
    let (from, to) = (b"warehouse-01", b"warehouse-99");
    let path = site.data_dir().join("events.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let windows = bytes.windows(from.len()).enumerate();
    let places: Vec<usize> = windows.filter(|(_, window)| window == from).map(|(at, _)| at).collect();
    for at in &places {
        bytes[*at..at + to.len()].copy_from_slice(to);
    }
    std::fs::write(&path, bytes).unwrap();
    places.len()
}
