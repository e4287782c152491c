//! The document of the whole API, as the running server gives it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use roas::v3_1::spec::Spec;
use roas::validation::{Options, Validate};
use serde_json::{Value, json};

use crate::process::Server;

/// The document as a running server gives it.
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

/// Where a JSON body is described: what it belongs to, its media type and what stands under it.
type Body<'a> = (String, &'a str, &'a Value);

/// The bodies of an operation's request and answers that are JSON.
fn json_bodies<'a>(name: &str, operation: &'a Value) -> Vec<Body<'a>> {
    let request = std::iter::once(("request", &operation["requestBody"]));
    let answers = operation["responses"].as_object().unwrap().iter().map(|(status, answer)| (status.as_str(), answer));
    let contents = request.chain(answers).flat_map(|(what, body)| {
        let contents = body["content"].as_object().into_iter().flatten();
        contents.map(move |(kind, content)| (what, kind.as_str(), content))
    });
    contents
        .filter(|(_, kind, _)| kind.ends_with("json") && !kind.ends_with("ndjson"))
        .map(|(what, kind, content)| (format!("{name} {what}"), kind, content))
        .collect()
}

/// What makes `example` no instance of the schema that stands beside it in the document.
fn misfit(document: &Value, schema: &Value, example: &Value) -> Option<String> {
    // The components stand where its references look for them.
    let schema = json!({ "allOf": [schema], "components": document["components"] });
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    validator.validate(example).err().map(|error| format!("{}: {error}", error.instance_path()))
}

#[test]
fn every_json_body_has_an_example_and_each_is_what_its_schema_says() {
    let document = document();
    let mut faults = vec![];
    let mut checked = 0;
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let name = operation["operationId"].as_str().unwrap();
            for (body, kind, content) in json_bodies(name, operation) {
                let examples = content["examples"].as_object();
                if kind == "application/json" && examples.is_none() {
                    faults.push(format!("{body}: no example; see query-api/src/documentation/examples.rs"));
                }
                for (title, example) in examples.into_iter().flatten() {
                    checked += 1;
                    let misfit = misfit(&document, &content["schema"], &example["value"]);
                    faults.extend(misfit.map(|misfit| format!("{body} {title:?}: {misfit}")));
                }
            }
        }
    }
    assert_eq!(faults, Vec::<String>::new());
    assert!(checked > 80, "only {checked} examples");

    let schema = json!({ "$ref": "#/components/schemas/Decided" });
    assert!(misfit(&document, &schema, &json!({"deviceId": 1, "status": "Approved"})).is_some(), "types count");
    assert!(misfit(&document, &schema, &json!({"status": "Approved"})).is_some(), "required members count");
}

/// Who may call an operation, from its `x-signalbeam-permission`.
fn callers(operation: &Value) -> String {
    let credentials: Vec<_> = operation["x-signalbeam-permission"].as_array().unwrap().iter().collect();
    if credentials.is_empty() {
        return "anybody".to_owned();
    }
    credentials.iter().map(|credential| format!("`{}`", credential.as_str().unwrap())).collect::<Vec<_>>().join(", ")
}

/// The tables of `docs/api/endpoints.md`: one for each tag, in the order of the document's tags.
fn tables(document: &Value) -> String {
    let mut text = String::new();
    for tag in document["tags"].as_array().unwrap() {
        let name = tag["name"].as_str().unwrap();
        writeln!(text, "### {name}\n").unwrap();
        if let Some(description) = tag["description"].as_str() {
            writeln!(text, "{description}\n").unwrap();
        }
        text.push_str("| route | who may call it | what it does |\n|---|---|---|\n");
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                if operation["tags"][0] == name {
                    let (method, summary) = (method.to_uppercase(), operation["summary"].as_str().unwrap());
                    writeln!(text, "| `{method} {path}` | {} | {summary} |", callers(operation)).unwrap();
                }
            }
        }
        text.push('\n');
    }
    text
}

const BEGIN: &str = "<!-- The tables below are made from /openapi.json: SIGNALBEAM_UPDATE_DOCS=1 cargo test -p signalbeam-server --test it endpoints -->\n";
const END: &str = "<!-- The tables end here. -->\n";

#[test]
fn the_document_s_endpoints_are_those_of_the_docs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api/endpoints.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let document = document();
    let expected = format!("{before}{BEGIN}\n{}{END}{after}", tables(&document));
    if std::env::var_os("SIGNALBEAM_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
        return;
    }
    assert!(text == expected, "docs/api/endpoints.md is old; SIGNALBEAM_UPDATE_DOCS=1 makes this test rewrite it");
    let operations = document["paths"].as_object().unwrap().values().map(|item| item.as_object().unwrap().len());
    let listed = tables(&document).lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(listed, operations.sum::<usize>(), "each route stands under one tag");
}
