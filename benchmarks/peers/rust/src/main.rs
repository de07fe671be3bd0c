//! The kube-rs side of the benchmark: SCENARIO --objects N --events N --rounds N --settle SECONDS [--paged], access
//! from KUBECONFIG, JSON lines on standard output.

mod measure;
mod workload;

use futures::{channel::mpsc, Stream, StreamExt};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::{Action, Config as ControllerConfig, Controller};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{watcher, WatchStreamExt};
use kube::{Client, ResourceExt};
use measure::{monotonic, say, Meter};
use serde_json::json;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use workload::{pipeline_body, stateful_set, EtlPipeline};

const SENT: &str = "bench.etl.router/sent";
const SEQUENCE: &str = "bench.etl.router/seq";
const CONCURRENCY: usize = 8;

struct Options {
    objects: usize,
    events: usize,
    rounds: usize,
    settle: f64,
    paged: bool,
}

type Pipelines = Store<EtlPipeline>;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str| -> f64 {
        let at = arguments.iter().position(|one| one == name);
        at.and_then(|at| arguments[at + 1].parse().ok()).unwrap_or(0.0)
    };
    let options = Options {
        objects: number("--objects") as usize,
        events: number("--events") as usize,
        rounds: number("--rounds") as usize,
        settle: number("--settle"),
        paged: arguments.iter().any(|one| one == "--paged"),
    };
    let client = Client::try_default().await.expect("KUBECONFIG names a usable file");
    match arguments[1].as_str() {
        "sync" => sync(client, options).await,
        "ingest" => ingest(client, options).await,
        "latency" => latency(client, options).await,
        "noop-empty" => noop(client, options, false).await,
        "noop-build" => noop(client, options, true).await,
        "apply" => apply(client, options).await,
        other => panic!("no scenario {other}"),
    }
}

/// A reflector's store, and the stream that fills it and must be driven.
fn cached<K>(client: &Client, options: &Options) -> (Store<K>, impl Stream<Item = watcher::Result<K>>)
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
{
    let (reader, writer) = reflector::store();
    let mut config = watcher::Config::default();
    if !options.paged {
        config = config.streaming_lists();
    }
    let stream = watcher(Api::<K>::all(client.clone()), config)
        .modify(|object| object.managed_fields_mut().clear())
        .default_backoff()
        .reflect(writer)
        .applied_objects();
    (reader, stream)
}

/// Waits until the store has everything. (One store wakes only one of several tasks that wait for it to be ready, and
/// the controller is one of them.)
async fn filled<K>(reader: &Store<K>, options: &Options)
where
    K: kube::Resource<DynamicType = ()> + Clone + 'static,
{
    while reader.len() < options.objects {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn ready(began: &Meter, options: &Options) {
    say("ready", began.read());
    if options.settle > 0.0 {
        tokio::time::sleep(Duration::from_secs_f64(options.settle)).await;
        say("settled", began.read());
    }
}

async fn sync(client: Client, options: Options) {
    let began = Meter::new();
    let (reader, stream) = cached::<EtlPipeline>(&client, &options);
    tokio::spawn(stream.for_each(|_| async {}));
    reader.wait_until_ready().await.expect("the stream lives");
    ready(&began, &options).await;
}

async fn ingest(client: Client, options: Options) {
    let began = Meter::new();
    let (reader, stream) = cached::<EtlPipeline>(&client, &options);
    let seen = Arc::new(AtomicUsize::new(0));
    let all = Arc::new(Notify::new());
    let wanted = options.objects + options.events;
    let (counter, done) = (seen.clone(), all.clone());
    let stream = stream.inspect(move |_| {
        if counter.fetch_add(1, Ordering::Relaxed) + 1 == wanted {
            done.notify_one();
        }
    });
    let controller = Controller::for_stream(stream, reader.clone());
    tokio::spawn(controller.run(nothing, retry, Arc::new(())).for_each(|_| async {}));
    while seen.load(Ordering::Relaxed) < options.objects {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ready(&began, &options).await;
    let began = Meter::new();
    all.notified().await;
    let mut result = began.read();
    result["events"] = json!(options.events);
    say("result", result);
}

async fn nothing(_: Arc<EtlPipeline>, _: Arc<()>) -> Result<Action, std::convert::Infallible> {
    Ok(Action::await_change())
}

fn retry<C>(_: Arc<EtlPipeline>, _: &std::convert::Infallible, _: Arc<C>) -> Action {
    Action::await_change()
}

struct Stopwatch {
    last: String,
    nanoseconds: Mutex<Vec<i64>>,
    done: Notify,
}

async fn latency(client: Client, options: Options) {
    let began = Meter::new();
    let (reader, stream) = cached::<EtlPipeline>(&client, &options);
    let watch = Arc::new(Stopwatch {
        last: options.events.to_string(),
        nanoseconds: Mutex::default(),
        done: Notify::new(),
    });
    let controller = Controller::for_stream(stream, reader.clone());
    tokio::spawn(controller.run(stopped, retry, watch.clone()).for_each(|_| async {}));
    filled(&reader, &options).await;
    ready(&began, &options).await;
    let began = Meter::new();
    watch.done.notified().await;
    let mut result = began.read();
    result["nanoseconds"] = json!(*watch.nanoseconds.lock().expect("nobody panics"));
    say("result", result);
}

async fn stopped(
    pipeline: Arc<EtlPipeline>,
    watch: Arc<Stopwatch>,
) -> Result<Action, std::convert::Infallible> {
    let annotations = pipeline.annotations();
    let sent: i64 = annotations.get(SENT).and_then(|text| text.parse().ok()).unwrap_or(0);
    if sent > 0 {
        watch.nanoseconds.lock().expect("nobody panics").push(monotonic() - sent);
        if annotations.get(SEQUENCE) == Some(&watch.last) {
            watch.done.notify_one();
        }
    }
    Ok(Action::await_change())
}

struct Rounds {
    children: Option<Store<StatefulSet>>,
    count: AtomicUsize,
    target: AtomicUsize,
    reached: Notify,
}

async fn noop(client: Client, options: Options, build: bool) {
    let began = Meter::new();
    let (reader, stream): (Pipelines, _) = cached(&client, &options);
    let mut children = None;
    if build {
        let (store, stream) = cached::<StatefulSet>(&client, &options);
        tokio::spawn(stream.for_each(|_| async {}));
        filled(&store, &options).await;
        children = Some(store);
    }
    let rounds = Arc::new(Rounds {
        children,
        count: AtomicUsize::new(0),
        // The first round is that of the first state.
        target: AtomicUsize::new(options.objects),
        reached: Notify::new(),
    });
    let (trigger, triggered) = mpsc::unbounded();
    let controller = Controller::for_stream(stream, reader.clone())
        .with_config(ControllerConfig::default())
        .reconcile_all_on(triggered);
    tokio::spawn(controller.run(counted, retry, rounds.clone()).for_each(|_| async {}));
    filled(&reader, &options).await;
    ready(&began, &options).await;
    rounds.reached.notified().await;
    let began = Meter::new();
    for _ in 0..options.rounds {
        let target = rounds.count.load(Ordering::Relaxed) + options.objects;
        rounds.target.store(target, Ordering::Relaxed);
        trigger.unbounded_send(()).expect("the controller lives");
        rounds.reached.notified().await;
    }
    let mut result = began.read();
    result["reconciles"] = json!(options.objects * options.rounds);
    say("result", result);
}

async fn counted(
    pipeline: Arc<EtlPipeline>,
    rounds: Arc<Rounds>,
) -> Result<Action, std::convert::Infallible> {
    if let Some(children) = &rounds.children {
        let key = ObjectRef::new(&pipeline.name_any()).within(&pipeline.namespace().unwrap_or_default());
        let observed = children.get(&key).expect("every pipeline has a child");
        let desired = stateful_set(&pipeline);
        let labelled = desired.labels().iter().all(|(key, value)| observed.labels().get(key) == Some(value));
        let owned = observed.owner_references() == desired.owner_references();
        if observed.spec != desired.spec || !labelled || !owned {
            eprintln!("{key} must be converged");
            std::process::exit(1);
        }
    }
    if rounds.count.fetch_add(1, Ordering::Relaxed) + 1 == rounds.target.load(Ordering::Relaxed) {
        rounds.reached.notify_one();
    }
    Ok(Action::await_change())
}

async fn apply(client: Client, options: Options) {
    let began = Meter::new();
    let next = Cell::new(0);
    let params = PatchParams::apply("bench").force();
    let workers = (0..CONCURRENCY).map(|_| async {
        while next.get() < options.events {
            let (namespace, name, body) = pipeline_body(next.get() % options.objects);
            next.set(next.get() + 1);
            let api: Api<EtlPipeline> = Api::namespaced(client.clone(), &namespace);
            let answer = api.patch(&name, &params, &Patch::Apply(&body)).await.expect("the stub accepts");
            assert_eq!(answer.name_any(), name);
        }
    });
    futures::future::join_all(workers).await;
    let mut result = began.read();
    result["requests"] = json!(options.events);
    say("result", result);
}
