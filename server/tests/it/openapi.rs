//! The document of the whole API, as the running server gives it.

use std::collections::BTreeSet;

use roas::v3_1::spec::Spec;
use roas::validation::{Options, Validate};
use serde_json::{Value, json};

use crate::process::Server;

fn document() -> Value {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let mut answer = server.http.get(format!("{}/openapi.json", server.url)).call().unwrap();
    answer.body_mut().read_json().unwrap()
}

/// What a validator of OpenAPI 3.1 finds wrong with a document.
fn faults(document: &Value) -> Vec<String> {
    match serde_json::from_value::<Spec>(document.clone()) {
        Err(error) => vec![error.to_string()],
        Ok(spec) => match spec.validate(Options::new(), None) {
            Ok(()) => vec![],
            Err(error) => error.errors.iter().map(ToString::to_string).collect(),
        },
    }
}

#[test]
fn the_document_is_valid_openapi_and_every_operation_says_what_a_reader_needs() {
    let document = document();
    assert_eq!(faults(&document), Vec::<String>::new());

    let mut broken = document.clone();
    broken["paths"]["/api/devices/{id}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"] =
        json!({ "$ref": "#/components/schemas/Nowhere" });
    assert_ne!(faults(&broken), Vec::<String>::new(), "the validator notices");

    let (mut names, mut untold) = (BTreeSet::new(), vec![]);
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{method} {path}: {name} is taken");
            let fields = ["summary", "description"];
            let is_told = |told: &Value| told.as_str().is_some_and(|text| !text.is_empty());
            untold.extend(fields.iter().filter(|f| !is_told(&operation[f])).map(|f| format!("{method} {path}: {f}")));
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let parameters = parameters.filter(|parameter| !is_told(&parameter["description"]));
            untold.extend(parameters.map(|parameter| format!("{method} {path}: {}", parameter["name"])));
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            let told = |schema: &Value| schema["description"].is_string() || schema["$ref"].is_string();
            if !told(property) && !property["oneOf"].as_array().is_some_and(|cases| cases.iter().any(told)) {
                untold.push(format!("{name}.{field}"));
            }
        }
    }
    assert_eq!(untold, Vec::<String>::new(), "nothing is left undescribed");
}
