//! docs/openapi.json and the server, held against each other: every route, every status, every field, both ways.

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::{Map, Value, json};
use stream_job::ops::supervise::{OPENAPI, routes};

use crate::stage::{Stage, Supervised, WORKS, kill};

/// The description, what was asked, and which of its properties answers had.
struct Described {
    document: Value,
    seen: BTreeSet<(String, String, u16)>,
    properties: BTreeSet<String>,
}

impl Described {
    fn new() -> Self {
        Self {
            document: serde_json::from_str(OPENAPI).unwrap(),
            seen: BTreeSet::new(),
            properties: BTreeSet::new(),
        }
    }

    fn operations(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        let paths = self.document["paths"].as_object().unwrap().iter();
        paths.flat_map(|(path, item)| {
            let operations = item.as_object().unwrap().iter();
            operations
                .filter(|(method, _)| *method != "parameters")
                .map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
        })
    }

    fn statuses(&self) -> BTreeSet<(String, String, u16)> {
        self.operations()
            .flat_map(|(method, path, operation)| {
                let statuses = operation["responses"].as_object().unwrap().keys();
                statuses.map(move |status| {
                    (method.to_owned(), path.to_owned(), status.parse().unwrap())
                })
            })
            .collect()
    }

    /// Sends a request as the operation describes it, and holds the answer against the description.
    async fn ask(
        &mut self,
        job: &Supervised,
        method: &str,
        path: &str,
        actual: &str,
        body: Option<&Value>,
    ) -> Value {
        let verb: Method = method.to_ascii_uppercase().parse().unwrap();
        let json = body.map(|body| serde_json::to_vec(body).unwrap());
        let client = job.client().within(crate::stage::LIMIT);
        let answer = client.request(verb, actual, json).await.unwrap();
        self.hold(method, path, answer.status, &answer.text())
    }

    fn hold(&mut self, method: &str, path: &str, status: u16, text: &str) -> Value {
        let response = &self.document["paths"][path][method]["responses"][status.to_string()];
        let what = format!("{method} {path} {status}");
        assert!(response.is_object(), "{what} is not described: {text}");
        let content = response["content"].as_object().unwrap();
        let parsed: Result<Value, _> = serde_json::from_str(text);
        let value = match (&parsed, content.get("application/json")) {
            (Ok(value), Some(media)) => {
                let schema = media["schema"].clone();
                self.check(&schema, value, &what);
                value.clone()
            }
            _ => {
                assert!(content.contains_key("text/plain"), "{what}: {text}");
                Value::String(text.to_owned())
            }
        };
        self.seen
            .insert((method.to_owned(), path.to_owned(), status));
        value
    }

    /// The value has all that the schema requires and nothing that it does not know.
    fn check(&mut self, schema: &Value, value: &Value, at: &str) {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.strip_prefix("#/components/schemas/").unwrap();
            let named = self.document["components"]["schemas"][name].clone();
            assert!(named.is_object(), "{at}: no schema {name}");
            return self.check_named(&named, value, name, at);
        }
        if let Some(one_of) = schema["anyOf"].as_array() {
            if value.is_null() {
                assert!(one_of.iter().any(|s| s["type"] == "null"), "{at} is null");
            } else {
                self.check(&one_of[0].clone(), value, at);
            }
            return;
        }
        self.check_named(schema, value, "", at);
    }

    fn check_named(&mut self, schema: &Value, value: &Value, name: &str, at: &str) {
        let is = |kind: &Value| match kind.as_str().unwrap() {
            "null" => value.is_null(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("{at}: the type {other} is not known here"),
        };
        let kinds = &schema["type"];
        let fits = kinds
            .as_array()
            .map_or_else(|| is(kinds), |kinds| kinds.iter().any(is));
        assert!(fits, "{at}: {value} is no {kinds}");
        if let Some(words) = schema["enum"].as_array() {
            assert!(words.contains(value), "{at}: {value} is none of {words:?}");
        }
        if let Some(items) = value.as_array() {
            for item in items {
                self.check(&schema["items"].clone(), item, &format!("{at}[]"));
            }
        }
        if let Some(fields) = value.as_object() {
            self.check_fields(schema, fields, name, at);
        }
    }

    fn check_fields(&mut self, schema: &Value, fields: &Map<String, Value>, name: &str, at: &str) {
        let Some(properties) = schema["properties"].as_object() else {
            let each = schema["additionalProperties"].clone();
            let values = fields.values().filter(|_| each.is_object());
            return values.for_each(|value| self.check(&each, value, at));
        };
        for required in schema["required"].as_array().unwrap() {
            assert!(
                fields.contains_key(required.as_str().unwrap()),
                "{at} lacks {required}"
            );
        }
        for (field, value) in fields {
            let schema = properties.get(field);
            let schema = schema.unwrap_or_else(|| panic!("{at}.{field} is not described"));
            if !value.is_null() {
                self.properties.insert(format!("{name}.{field}"));
            }
            self.check(&schema.clone(), value, &format!("{at}.{field}"));
        }
    }

    /// Every property of every schema that answers are made of.
    fn answered_properties(&self) -> BTreeSet<String> {
        let schemas = self.document["components"]["schemas"].as_object().unwrap();
        schemas
            .iter()
            .filter(|(name, _)| !name.ends_with("Request"))
            .filter_map(|(name, schema)| Some((name, schema["properties"].as_object()?)))
            .flat_map(|(name, properties)| {
                properties.keys().map(move |key| format!("{name}.{key}"))
            })
            .collect()
    }
}

#[test]
fn every_route_is_described_and_every_description_is_a_route() {
    let described = Described::new();
    let of_document: BTreeSet<_> = described.operations().map(|(m, p, _)| (m, p)).collect();
    let of_server: BTreeSet<_> = routes().collect();
    assert_eq!(of_document, of_server);
    for (_, path, operation) in described.operations() {
        let is_open = operation["security"] == json!([]);
        assert_eq!(is_open, path == "/healthz" || path == "/readyz", "{path}");
    }
}

const JOB: &str = "/api/v1/jobs/{job}";

fn under(base: &str, name: &str) -> String {
    format!("{}{name}", base.replace("{job}", "spanflow"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_status_and_field_is_answered_as_described() {
    let mut api = Described::new();
    ask_a_job_that_works(&mut api).await;
    ask_without_a_token(&mut api).await;
    ask_a_job_that_restarts(&mut api).await;
    assert_eq!(api.seen, api.statuses(), "left: answered, right: described");
    assert_eq!(
        api.properties,
        api.answered_properties(),
        "left: answered, right: described"
    );
}

async fn ask_a_job_that_works(api: &mut Described) {
    let stage = Stage::new().await;
    let does = format!("echo at work >&2\n{WORKS}");
    let job = stage.submit(&does, &["restart_backoff_min=20ms"]).await;
    job.in_state("running").await;
    kill(stage.started(1).await);
    stage.started(2).await;
    crate::stage::until("shares of time are known", async || {
        let (_, status) = job.get("/api/v1/status").await;
        status["processes"][0]["cpu"].is_number().then_some(())
    })
    .await;
    for path in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/v1/openapi.json",
        "/api/v1/status",
        "/api/v1/jobs",
    ] {
        api.ask(&job, "get", path, path, None).await;
    }
    api.ask(&job, "get", JOB, &under(JOB, ""), None).await;
    *stage.fake.healthy.lock().unwrap() = false;
    api.ask(&job, "get", "/healthz", "/healthz", None).await;
    *stage.fake.healthy.lock().unwrap() = true;

    let graph = format!("{JOB}/graph");
    for query in ["", "?format=text", "?format=mermaid", "?format=pdf"] {
        api.ask(
            &job,
            "get",
            &graph,
            &under(JOB, &format!("/graph{query}")),
            None,
        )
        .await;
    }
    let logs = format!("{JOB}/logs");
    for query in ["?lines=50", "?lines=many"] {
        api.ask(
            &job,
            "get",
            &logs,
            &under(JOB, &format!("/logs{query}")),
            None,
        )
        .await;
    }
    ask_for_savepoints(api, &stage, &job).await;
    hand_the_job_over(api, &stage, &job).await;
    ask_for_another_job(api, &job).await;
    let cancel = format!("{JOB}/cancel");
    let to = under(JOB, "/cancel");
    api.ask(&job, "post", &cancel, &to, Some(&json!({ "drain": "no" })))
        .await;
    api.ask(&job, "post", &cancel, &to, None).await;
    api.ask(&job, "post", &cancel, &to, Some(&json!({ "drain": true })))
        .await;

    let other = Stage::new().await;
    let job = other.submit(WORKS, &[]).await;
    job.in_state("running").await;
    api.ask(&job, "delete", JOB, &under(JOB, ""), None).await;
}

async fn ask_for_savepoints(api: &mut Described, stage: &Stage, job: &Supervised) {
    let path = format!("{JOB}/savepoints");
    let to = under(JOB, "/savepoints");
    let good = json!({ "name": "s1" });
    api.ask(job, "post", &path, &to, Some(&good)).await;
    api.ask(job, "post", &path, &to, Some(&json!({ "name": "../s1" })))
        .await;
    api.ask(job, "post", &path, &to, None).await;
    for status in [500, 501] {
        *stage.fake.savepoint.lock().unwrap() = (status, json!({ "error": "as the process says" }));
        let told = api.ask(job, "post", &path, &to, Some(&good)).await;
        assert_eq!(told["error"], "as the process says");
    }
}

async fn hand_the_job_over(api: &mut Described, stage: &Stage, job: &Supervised) {
    let path = format!("{JOB}/handover");
    let to = under(JOB, "/handover");
    stage.program("jobs/good", WORKS);
    stage.silent_program("jobs/bad", "exit 3");
    let binary = |name: &str| json!({ "binary": name });
    api.ask(job, "post", &path, &to, Some(&binary("good")))
        .await;
    *stage.fake.savepoint.lock().unwrap() = (200, Value::Null);
    api.ask(job, "post", &path, &to, Some(&binary("good")))
        .await;
    api.ask(job, "post", &path, &to, Some(&binary("bad"))).await;
    api.ask(job, "post", &path, &to, Some(&binary("../bad")))
        .await;
    api.ask(job, "post", &path, &to, None).await;
    job.in_state("running").await;
}

/// Of every operation on a job: there is no job of another name.
async fn ask_for_another_job(api: &mut Described, job: &Supervised) {
    let operations: Vec<(String, String)> = api
        .operations()
        .filter(|(_, path, _)| path.contains("{job}"))
        .map(|(method, path, _)| (method.to_owned(), path.to_owned()))
        .collect();
    let body = json!({});
    for (method, path) in operations {
        let body = (method == "post").then_some(&body);
        let actual = path.replace("{job}", "another");
        api.ask(job, &method, &path, &actual, body).await;
    }
}

async fn ask_without_a_token(api: &mut Described) {
    let stage = Stage::new().await;
    let job = stage.submit_with(WORKS, &[], "s3cret").await;
    job.in_state("running").await;
    let stranger = stream_job::ops::client::Client::at(&job.client().url(), "").unwrap();
    let guarded: Vec<(String, String)> = api
        .operations()
        .filter(|(_, _, operation)| operation["security"].is_null())
        .map(|(method, path, _)| (method.to_owned(), path.to_owned()))
        .collect();
    for (method, path) in guarded {
        let verb: Method = method.to_ascii_uppercase().parse().unwrap();
        let actual = path.replace("{job}", "spanflow");
        let answer = stranger.request(verb, &actual, None).await.unwrap();
        assert_eq!(answer.status, 401, "{method} {path}");
        api.hold(&method, &path, answer.status, &answer.text());
    }
}

async fn ask_a_job_that_restarts(api: &mut Described) {
    let stage = Stage::new().await;
    let job = stage
        .submit(
            "exit 1",
            &["restart_backoff_min=1h", "restart_backoff_max=1h"],
        )
        .await;
    job.in_state("restarting").await;
    api.ask(&job, "get", "/readyz", "/readyz", None).await;
    api.ask(&job, "get", JOB, &under(JOB, ""), None).await;
    api.ask(
        &job,
        "get",
        &format!("{JOB}/graph"),
        &under(JOB, "/graph"),
        None,
    )
    .await;
    let savepoint = json!({ "name": "s1" });
    api.ask(
        &job,
        "post",
        &format!("{JOB}/savepoints"),
        &under(JOB, "/savepoints"),
        Some(&savepoint),
    )
    .await;
}
