"""Objects of built-in kinds, and how to make them."""

from __future__ import annotations

from typing import Any

from informers.objects import Object

RBAC = "rbac.authorization.k8s.io"
LABELS = {"app": "x"}
CONTAINER: Object = {"name": "c", "image": "i:1"}


def builtin(api_version: str, kind: str, **content: Any) -> Object:
    """An object of a built-in kind."""
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, **content}


def template(*containers: Object, **spec: Any) -> Object:
    """A pod template."""
    return {"metadata": {"labels": LABELS}, "spec": {"containers": list(containers) or [CONTAINER], **spec}}


def stateful_set(*containers: Object, **spec: Any) -> Object:
    """A StatefulSet without pods, so that no controller touches it much."""
    base = {
        "replicas": 0,
        "serviceName": "x",
        "selector": {"matchLabels": LABELS},
        "template": template(*containers),
    }
    return builtin("apps/v1", "StatefulSet", spec=base | spec)


def deployment(**spec: Any) -> Object:
    """A Deployment without pods."""
    base = {"replicas": 0, "selector": {"matchLabels": LABELS}, "template": template()}
    return builtin("apps/v1", "Deployment", spec=base | spec)


def service(**spec: Any) -> Object:
    """A Service with one port."""
    return builtin("v1", "Service", spec={"ports": [{"port": 80}]} | spec)


def claim(**spec: Any) -> Object:
    """A claim of one gibibyte."""
    base = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return builtin("v1", "PersistentVolumeClaim", spec=base | spec)


def pod(*containers: Object, **spec: Any) -> Object:
    """A pod."""
    return builtin("v1", "Pod", spec={"containers": list(containers) or [CONTAINER], **spec})


def named(obj: Object, name: str) -> Object:
    """The object under another name."""
    return {**obj, "metadata": {"name": name}}


PROBED: Object = {
    **CONTAINER,
    "livenessProbe": {"httpGet": {"port": 80}},
    "readinessProbe": {"grpc": {"port": 50051}, "periodSeconds": 2},
    "startupProbe": {"tcpSocket": {"port": "g"}, "initialDelaySeconds": 0},
    "ports": [{"name": "g", "containerPort": 50051, "hostPort": 0}],
    "env": [
        {"name": "A", "value": ""},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ],
    "resources": {
        "limits": {"cpu": "1000m", "memory": "1024Mi"},
        "requests": {"cpu": 0.5, "memory": "1000000"},
    },
    "securityContext": {"readOnlyRootFilesystem": False},
    "tty": False,
    "lifecycle": {"preStop": {"httpGet": {"port": 1}}},
}

CREATED: dict[str, Object] = {
    "statefulset": stateful_set(
        PROBED,
        updateStrategy={},
        minReadySeconds=0,
        volumeClaimTemplates=[
            {
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2048Mi"}}},
            }
        ],
    ),
    "statefulset on delete": stateful_set(updateStrategy={"type": "OnDelete"}),
    "statefulset without selector": builtin(
        "apps/v1", "StatefulSet", spec={"template": template(), "serviceName": "x"}
    ),
    "statefulset of others": stateful_set(selector={"matchLabels": {"other": "x"}}),
    "statefulset with empty selector": stateful_set(selector={}),
    "statefulset with strange words": stateful_set(podManagementPolicy="Odd", updateStrategy={"type": "Odd"}),
    "statefulset with negative numbers": stateful_set(replicas=-1, minReadySeconds=-1),
    "statefulset with dotted name": named(stateful_set(), "a.b"),
    "statefulset without containers": stateful_set(
        template={"metadata": {"labels": LABELS}, "spec": {"containers": []}}
    ),
    "statefulset that stops": stateful_set(template=template(restartPolicy="Never")),
    "deployment": deployment(
        template=template(
            PROBED,
            serviceAccountName="a",
            volumes=[
                {"name": "a"},
                {"name": "b", "configMap": {"name": "c"}},
                {"name": "d", "secret": {"secretName": "s"}},
                {
                    "name": "e",
                    "downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]},
                },
                {"name": "f", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
                {"name": "g", "hostPath": {"path": "/x"}},
            ],
        )
    ),
    "deployment recreate": deployment(strategy={"type": "Recreate"}),
    "deployment that is never ready": deployment(progressDeadlineSeconds=1, minReadySeconds=2),
    "deployment stuck": deployment(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
    "job": builtin(
        "batch/v1",
        "Job",
        spec={
            "suspend": True,
            "manualSelector": True,
            "selector": {"matchLabels": LABELS},
            "template": template(restartPolicy="Never"),
        },
    ),
    "job that always restarts": builtin("batch/v1", "Job", spec={"suspend": True, "template": template()}),
    "cronjob": builtin(
        "batch/v1",
        "CronJob",
        spec={
            "schedule": "1 1 1 1 *",
            "suspend": True,
            "jobTemplate": {"spec": {"template": template(restartPolicy="OnFailure")}},
        },
    ),
    "wrong containers": stateful_set(
        {"name": "c"},
        {
            "name": "c",
            "image": "i",
            "imagePullPolicy": "Odd",
            "ports": [
                {"containerPort": 0},
                {"name": "Aa", "containerPort": 70000},
                {"name": "p", "containerPort": 1},
                {"name": "p", "containerPort": 2, "protocol": "XYZ"},
            ],
            "env": [
                {"name": "a=b"},
                {"name": ""},
                {"name": "o", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ],
            "volumeMounts": [{"name": "no", "mountPath": "/a"}, {"name": "", "mountPath": ""}],
        },
        {"name": "U_", "image": "i"},
    ),
    "wrong probes": stateful_set(
        {
            **CONTAINER,
            "readinessProbe": {},
            "livenessProbe": {
                "tcpSocket": {"port": 0},
                "grpc": {"port": 1},
                "successThreshold": 2,
                "periodSeconds": -1,
            },
        }
    ),
    "wrong resources": stateful_set(
        {
            **CONTAINER,
            "resources": {"limits": {"cpu": "1", "memory": "-1"}, "requests": {"cpu": "2", "foo": "1"}},
        }
    ),
    "no quantity": stateful_set({**CONTAINER, "resources": {"limits": {"memory": "much"}}}),
    "wrong volumes": stateful_set(
        template=template(
            volumes=[
                {"name": "a", "emptyDir": {}},
                {"name": "a", "emptyDir": {}},
                {"name": "B"},
                {"name": "c", "persistentVolumeClaim": {"claimName": ""}},
            ]
        )
    ),
    "pod": pod({**CONTAINER, "resources": {"limits": {"cpu": "1"}}}),
    "guaranteed pod": pod({**CONTAINER, "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}),
    "pod with negative grace": pod(terminationGracePeriodSeconds=-5),
    "pod with latest image": pod(
        {"name": "a", "image": "r.io:5000/x/y"},
        {"name": "b", "image": "x:latest"},
        {"name": "c", "image": "x@sha256:" + "0" * 64},
        {"name": "d", "image": "r.io/x:1"},
    ),
    "service": service(),
    "headless service": service(clusterIP="None", selector=LABELS, publishNotReadyAddresses=True),
    "headless service without selector": service(clusterIP="None"),
    "headless service without ports": builtin("v1", "Service", spec={"clusterIP": "None"}),
    "service of a name": builtin(
        "v1", "Service", spec={"type": "ExternalName", "externalName": "a.example.com"}
    ),
    "sticky service": service(sessionAffinity="ClientIP"),
    "balanced service": service(type="LoadBalancer"),
    "node port service": service(type="NodePort"),
    "service without ports": builtin("v1", "Service", spec={}),
    "service with wrong ports": service(
        ports=[
            {"port": 80},
            {"port": 80, "name": "A_"},
            {"port": 70000, "name": "b", "protocol": "X"},
            {"port": 1, "name": "b", "targetPort": "NO_PORT"},
        ]
    ),
    "service with odd words": service(type="Odd", sessionAffinity="Odd"),
    "service that begins with a digit": named(service(), "1a"),
    "service with a long name": named(service(), "a" * 64),
    "service with a node port of a kind without": service(ports=[{"port": 80, "nodePort": 30001}]),
    "configmap": builtin("v1", "ConfigMap", data={"a": "b", "e": ""}),
    "empty configmap": builtin("v1", "ConfigMap", data={}),
    "configmap with wrong keys": builtin(
        "v1", "ConfigMap", data={"a/b": "1", "..": "2", "both": "3"}, binaryData={"both": "MQ=="}
    ),
    "secret": builtin("v1", "Secret", data={"a": "eA=="}, stringData={"a": "b", "c": "d"}),
    "secret that is no base64": builtin("v1", "Secret", data={"a": "!!"}),
    "tls secret": builtin("v1", "Secret", type="kubernetes.io/tls", data={"tls.crt": "eA=="}),
    "token secret": builtin("v1", "Secret", type="kubernetes.io/service-account-token"),
    "claim": claim(),
    "claim of nothing": builtin("v1", "PersistentVolumeClaim", spec={}),
    "claim of zero": claim(resources={"requests": {"storage": "0"}}, accessModes=["Odd"]),
    "service account": builtin("v1", "ServiceAccount", automountServiceAccountToken=False, secrets=[]),
    "budget": builtin(
        "policy/v1", "PodDisruptionBudget", spec={"minAvailable": 1, "selector": {"matchLabels": LABELS}}
    ),
    "budget with both": builtin(
        "policy/v1", "PodDisruptionBudget", spec={"minAvailable": 1, "maxUnavailable": "1%"}
    ),
    "budget with wrong numbers": builtin(
        "policy/v1", "PodDisruptionBudget", spec={"minAvailable": "many", "unhealthyPodEvictionPolicy": "Odd"}
    ),
    "budget below zero": builtin("policy/v1", "PodDisruptionBudget", spec={"maxUnavailable": -1}),
    "lease": builtin(
        "coordination.k8s.io/v1",
        "Lease",
        spec={
            "holderIdentity": "me",
            "leaseDurationSeconds": 15,
            "leaseTransitions": 0,
            "renewTime": "2026-01-02T03:04:05.000006Z",
        },
    ),
    "lease with coarse time": builtin(
        "coordination.k8s.io/v1", "Lease", spec={"renewTime": "2026-01-02T03:04:05Z"}
    ),
    "lease with wrong numbers": builtin(
        "coordination.k8s.io/v1",
        "Lease",
        spec={"holderIdentity": "", "leaseDurationSeconds": 0, "leaseTransitions": -1},
    ),
    "slice": builtin(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        addressType="IPv4",
        endpoints=[{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}],
        ports=[{"port": 1}],
    ),
    "slice without addresses": builtin(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        addressType="IPv4",
        endpoints=[{"addresses": []}, {"addresses": ["x"]}],
        ports=[{"name": "A_"}, {"port": 1}, {"port": 2}],
    ),
    "slice of odd type": builtin("discovery.k8s.io/v1", "EndpointSlice", addressType="Odd", endpoints=[]),
    "role": named(
        builtin(f"{RBAC}/v1", "Role", rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]),
        "a:b",
    ),
    "role with wrong rules": builtin(
        f"{RBAC}/v1",
        "Role",
        rules=[
            {"apiGroups": [""], "resources": ["pods"], "verbs": []},
            {"verbs": ["get"], "nonResourceURLs": ["/x"]},
            {"verbs": ["get"]},
        ],
    ),
    "binding": builtin(
        f"{RBAC}/v1",
        "RoleBinding",
        roleRef={"apiGroup": RBAC, "kind": "ClusterRole", "name": "view"},
        subjects=[{"kind": "ServiceAccount", "name": "a", "namespace": "n"}, {"kind": "User", "name": "u"}],
    ),
    "binding with wrong subjects": builtin(
        f"{RBAC}/v1",
        "RoleBinding",
        roleRef={"apiGroup": RBAC, "kind": "Odd", "name": ""},
        subjects=[
            {"kind": "ServiceAccount", "name": "a"},
            {"kind": "User", "name": ""},
            {"kind": "X", "name": "b"},
        ],
    ),
    "storage class": builtin("storage.k8s.io/v1", "StorageClass", provisioner="p"),
    "namespace": named(builtin("v1", "Namespace"), "rules-check-other"),
    "namespace with dots": named(builtin("v1", "Namespace"), "a.b"),
    "event": builtin(
        "v1",
        "Event",
        involvedObject={"kind": "Pod", "name": "p", "namespace": "rules-check"},
        reason="R",
        firstTimestamp="2026-01-02T05:04:05+02:00",
        count=1,
    ),
    "event elsewhere": builtin(
        "v1", "Event", involvedObject={"kind": "Pod", "name": "p", "namespace": "other"}
    ),
    "new event": builtin(
        "events.k8s.io/v1",
        "Event",
        regarding={"kind": "Pod", "name": "p", "namespace": "rules-check"},
        eventTime="2026-01-02T03:04:05.000006Z",
        reportingController="c.io/x",
        reportingInstance="i",
        action="a",
        reason="r",
        type="Normal",
    ),
    "new event without much": builtin(
        "events.k8s.io/v1",
        "Event",
        type="Odd",
        regarding={"kind": "Pod", "name": "p", "namespace": "rules-check"},
    ),
    "policy": builtin(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        spec={"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]},
    ),
}
"""What becomes of an object when it is created."""
