//! What a case is, how a list of them is run, and the few things that cases do again and again.

use std::fmt::Display;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::widget::Widget;

/// A case may take this long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Cases that run at once.
const AT_ONCE: usize = 6;

type Run = fn(Context) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// One thing to be shown.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub run: Run,
    /// The embedded service differs from Kubernetes here, on purpose.
    pub embedded_only: bool,
}

/// What a case gets.
#[derive(Clone)]
pub struct Context {
    pub client: Client,
    /// Different for every case and run: a prefix for names, and the value of label `case`.
    pub tag: String,
}

/// `cases![f, g]`: for both servers, named after module and function.
#[macro_export]
macro_rules! cases {
    ($($case:ident),* $(,)?) => { $crate::cases!(@ false; $($case),*) };
    (embedded only: $($case:ident),* $(,)?) => { $crate::cases!(@ true; $($case),*) };
    (@ $only:expr; $($case:ident),*) => {
        vec![$($crate::harness::Case {
            name: concat!(module_path!(), "::", stringify!($case)),
            run: |context| Box::pin($case(context)),
            embedded_only: $only,
        }),*]
    };
}

/// Runs the cases against one server and prints what happened. Returns how many failed.
pub async fn run(server: &str, client: &Client, cases: &[Case]) -> usize {
    let started = Instant::now();
    let run = uuid::Uuid::new_v4().simple().to_string()[..6].to_owned();
    let results: Vec<(&Case, Result<(), String>)> = futures::stream::iter(cases.iter().enumerate())
        .map(|(at, case)| {
            let context = Context { client: client.clone(), tag: format!("c{at}-{run}") };
            async move { (case, one(case, context).await) }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let failed = results.iter().filter(|(_, result)| result.is_err()).count();
    for (case, result) in &results {
        if let Err(why) = result {
            println!("FAILED on {server}: {}\n    {why}", case.name);
        }
    }
    println!(
        "{server}: {} cases, {} passed, {failed} failed, {:.1} s",
        results.len(),
        results.len() - failed,
        started.elapsed().as_secs_f32()
    );
    failed
}

async fn one(case: &Case, context: Context) -> Result<(), String> {
    let mut task = tokio::spawn((case.run)(context));
    match tokio::time::timeout(PATIENCE, &mut task).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(panic)) => Err(match panic.try_into_panic() {
            Ok(why) => match why.downcast::<String>() {
                Ok(text) => *text,
                Err(why) => why.downcast::<&str>().map_or_else(|_| "a panic".to_owned(), |t| (*t).to_owned()),
            },
            Err(cancelled) => cancelled.to_string(),
        }),
        Err(_) => {
            task.abort();
            Err(format!("not done after {PATIENCE:?}"))
        }
    }
}

impl Context {
    pub fn widgets(&self) -> Api<Widget> {
        Api::all(self.client.clone())
    }

    pub fn name(&self, what: impl Display) -> String {
        format!("{}-{what}", self.tag)
    }

    /// Selects the objects of this case.
    pub fn label(&self) -> String {
        format!("case={}", self.tag)
    }

    /// A widget of this case, not yet created.
    pub fn widget(&self, what: impl Display, spec: Value) -> Widget {
        let object = json!({
            "apiVersion": "conformance.bricklayer.dev/v1", "kind": "Widget",
            "metadata": { "name": self.name(what), "labels": { "case": self.tag } },
            "spec": spec,
        });
        serde_json::from_value(object).expect("a widget")
    }

    /// Creates a plain widget.
    pub async fn made(&self, what: impl Display) -> Widget {
        self.made_with(what, json!({ "size": 1 })).await
    }

    pub async fn made_with(&self, what: impl Display, spec: Value) -> Widget {
        let widget = self.widget(what, spec);
        self.widgets().create(&PostParams::default(), &widget).await.expect("create")
    }

    /// Waits until the server's watch cache has this version of a widget. What is asked for from version "0"
    /// comes from that cache, which may be behind what was just acknowledged.
    pub async fn cached(&self, widget: &Widget) {
        let at = widget.resource_version().expect("a version");
        self.widgets().list(&ListParams::default().labels(&self.label()).at(&at)).await.expect("a list");
    }

    /// Removes a widget, finalizers or not.
    pub async fn remove(&self, widget: &Widget) {
        let name = widget.name_any();
        let patch = json!({ "metadata": { "finalizers": null } });
        let patch = kube::api::Patch::Merge(&patch);
        let _ = self.widgets().patch(&name, &Default::default(), &patch).await; // gone already: fine
        let _ = self.widgets().delete(&name, &DeleteParams::default()).await;
    }

    /// A namespace besides `default`: the embedded service has one, elsewhere it is made.
    pub async fn second_namespace(&self) -> String {
        let name = "bricklayer";
        let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.client.clone());
        if api.get_opt(name).await.expect("an answer").is_none() {
            let object = json!({ "metadata": { "name": name } });
            let object = serde_json::from_value(object).expect("a namespace");
            api.create(&PostParams::default(), &object).await.expect("create");
        }
        name.to_owned()
    }

    /// Sends anything, and returns code and body.
    pub async fn raw(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: impl Into<String>,
    ) -> (u16, Value) {
        let request = http::Request::builder().method(method).uri(path);
        let request = request.header("content-type", content_type).header("accept", "application/json");
        self.send(request.body(body.into().into_bytes()).expect("a request")).await
    }

    pub async fn send(&self, request: http::Request<Vec<u8>>) -> (u16, Value) {
        use http_body_util::BodyExt as _;
        let response = self.client.send(request.map(kube::client::Body::from)).await.expect("an answer");
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (code, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }
}

/// The path of all widgets, or of one.
pub fn widget_path(name: &str) -> String {
    let base = "/apis/conformance.bricklayer.dev/v1/widgets";
    if name.is_empty() { base.to_owned() } else { format!("{base}/{name}") }
}

/// The `Status` inside an API error.
#[track_caller]
pub fn refusal<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> kube::core::Status {
    match result {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// Asserts code and reason of a refusal.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(
    result: Result<T, kube::Error>,
    code: u16,
    reason: &str,
) -> kube::core::Status {
    let status = refusal(result);
    assert_eq!((status.code, status.reason.as_str()), (code, reason), "{}", status.message);
    status
}

/// Asserts a 422 whose causes name exactly these fields.
#[track_caller]
pub fn invalid<T: std::fmt::Debug>(result: Result<T, kube::Error>, fields: &[&str]) -> kube::core::Status {
    let status = refused(result, 422, "Invalid");
    let causes = status.details.as_ref().map(|d| d.causes.as_slice()).unwrap_or_default();
    assert_eq!(fields_of(causes.iter().map(|c| &*c.field)), fields, "{}", status.message);
    status
}

/// The fields that causes name, sorted, each once. Kubernetes says some twice, and adds `<nil>` when it did
/// not run the rules because the structure was wrong.
pub fn fields_of<'c>(causes: impl Iterator<Item = &'c str>) -> Vec<String> {
    let fields: std::collections::BTreeSet<&str> = causes.filter(|f| *f != "<nil>").collect();
    fields.into_iter().map(str::to_owned).collect()
}

/// A version as a number: both servers count.
pub fn version(object: &impl kube::ResourceExt) -> u64 {
    object.resource_version().expect("a version").parse().expect("a number")
}
