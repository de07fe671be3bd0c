//! The custom resource, and what is built and applied.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, Resource, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};

#[derive(CustomResource, Clone, Debug, Serialize, Deserialize)]
#[kube(group = "etl.router", version = "v1", kind = "EtlPipeline", plural = "etlpipelines")]
#[kube(namespaced, status = "EtlPipelineStatus", schema = "disabled")]
#[serde(rename_all = "camelCase")]
pub struct EtlPipelineSpec {
    pub source: String,
    #[serde(default)]
    pub steps: Vec<String>,
    pub sink: String,
    pub dlq: Option<DeadLetterQueue>,
    pub enabled: bool,
    pub drain_timeout_seconds: Option<i64>,
    pub deletion_policy: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterQueue {
    pub enabled: bool,
    pub max_retries: Option<i64>,
    pub sink: Option<String>,
    pub retry_backoff_ms: Option<i64>,
    pub max_retry_backoff_ms: Option<i64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EtlPipelineStatus {
    #[serde(default)]
    pub conditions: Vec<Condition>,
    pub observed_generation: Option<i64>,
    pub phase: Option<String>,
    pub pipeline_id: Option<String>,
    pub spec_hash: Option<String>,
    pub version: Option<i64>,
}

/// Builds what every program builds in the reconcile benchmark. The comparison is by equality, so the server's
/// defaults are written out.
pub fn stateful_set(pipeline: &EtlPipeline) -> StatefulSet {
    use k8s_openapi::api::core::v1::*;
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
    use std::collections::BTreeMap;

    let name = pipeline.name_any();
    let text = |value: &str| Some(value.to_string());
    let quantities = |pairs: &[(&str, &str)]| -> Option<BTreeMap<String, Quantity>> {
        Some(pairs.iter().map(|(key, value)| (key.to_string(), Quantity(value.to_string()))).collect())
    };
    let labels: BTreeMap<String, String> = [
        ("app.kubernetes.io/name".to_string(), "etl-router".to_string()),
        ("app.kubernetes.io/instance".to_string(), name.clone()),
    ]
    .into();
    let probe = || {
        Some(Probe {
            grpc: Some(GRPCAction { port: 50051, ..Default::default() }),
            period_seconds: Some(10),
            timeout_seconds: Some(2),
            success_threshold: Some(1),
            failure_threshold: Some(3),
            ..Default::default()
        })
    };
    let port = |name: &str, number| ContainerPort {
        name: text(name),
        container_port: number,
        protocol: text("TCP"),
        ..Default::default()
    };
    let mount = |name: &str, path: &str| VolumeMount {
        name: name.to_string(),
        mount_path: path.to_string(),
        ..Default::default()
    };
    let field = ObjectFieldSelector { api_version: text("v1"), field_path: "metadata.name".to_string() };
    let container = Container {
        name: "router".to_string(),
        image: text("etl-router:1.0.0"),
        args: Some(vec!["--config".to_string(), "/etc/etl-router/config.yaml".to_string()]),
        ports: Some(vec![port("grpc", 50051), port("metrics", 9090)]),
        env: Some(vec![
            EnvVar {
                name: "POD_NAME".to_string(),
                value_from: Some(EnvVarSource { field_ref: Some(field), ..Default::default() }),
                ..Default::default()
            },
            EnvVar { name: "CLUSTER".to_string(), value: Some(name.clone()), ..Default::default() },
        ]),
        resources: Some(ResourceRequirements {
            requests: quantities(&[("cpu", "500m"), ("memory", "512Mi")]),
            limits: quantities(&[("cpu", "2"), ("memory", "2Gi")]),
            ..Default::default()
        }),
        readiness_probe: probe(),
        liveness_probe: probe(),
        volume_mounts: Some(vec![mount("data", "/data"), mount("config", "/etc/etl-router")]),
        image_pull_policy: text("IfNotPresent"),
        termination_message_path: text("/dev/termination-log"),
        termination_message_policy: text("File"),
        ..Default::default()
    };
    let config = Volume {
        name: "config".to_string(),
        config_map: Some(ConfigMapVolumeSource {
            name: format!("{name}-config"),
            default_mode: Some(420),
            ..Default::default()
        }),
        ..Default::default()
    };
    let pod = PodSpec {
        service_account_name: text("etl-router"),
        service_account: text("etl-router"),
        termination_grace_period_seconds: Some(30),
        containers: vec![container],
        volumes: Some(vec![config]),
        restart_policy: text("Always"),
        dns_policy: text("ClusterFirst"),
        scheduler_name: text("default-scheduler"),
        security_context: Some(PodSecurityContext::default()),
        ..Default::default()
    };
    let claim = PersistentVolumeClaim {
        metadata: ObjectMeta { name: text("data"), ..Default::default() },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_string()]),
            resources: Some(VolumeResourceRequirements {
                requests: quantities(&[("storage", "10Gi")]),
                ..Default::default()
            }),
            volume_mode: text("Filesystem"),
            ..Default::default()
        }),
        ..Default::default()
    };
    let owner = pipeline
        .controller_owner_ref(&())
        .map(|owner| OwnerReference { block_owner_deletion: Some(true), ..owner });
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        namespace: pipeline.namespace(),
        labels: Some(labels.clone()),
        owner_references: owner.map(|owner| vec![owner]),
        ..Default::default()
    };
    let spec = StatefulSetSpec {
        replicas: Some(if pipeline.spec.enabled { 3 } else { 0 }),
        service_name: Some(format!("{name}-headless")),
        pod_management_policy: text("Parallel"),
        selector: LabelSelector { match_labels: Some(labels.clone()), ..Default::default() },
        template: PodTemplateSpec {
            metadata: Some(ObjectMeta { labels: Some(labels), ..Default::default() }),
            spec: Some(pod),
        },
        volume_claim_templates: Some(vec![claim]),
        revision_history_limit: Some(10),
        update_strategy: Some(k8s_openapi::api::apps::v1::StatefulSetUpdateStrategy {
            type_: text("RollingUpdate"),
            ..Default::default()
        }),
        ..Default::default()
    };
    StatefulSet { metadata, spec, ..Default::default() }
}

/// What the apply scenario sends: namespace, name, and about half a kilobyte.
pub fn pipeline_body(index: usize) -> (String, String, Value) {
    let (namespace, name) = (format!("bench-{}", index % 10), format!("bench-{index:06}"));
    let number = index % 97;
    let body = json!({
        "apiVersion": "etl.router/v1",
        "kind": "EtlPipeline",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "bench", "team": format!("team-{number}")},
        },
        "spec": {
            "source": format!("source-{number}"),
            "steps": ["filter-active", "enrich-geo"],
            "sink": format!("sink-{number}"),
            "dlq": {
                "enabled": true,
                "maxRetries": 3,
                "sink": "dead-letters",
                "retryBackoffMs": 100,
                "maxRetryBackoffMs": 30000,
            },
            "enabled": true,
            "drainTimeoutSeconds": 30,
            "deletionPolicy": "Delete",
        },
    });
    (namespace, name, body)
}
