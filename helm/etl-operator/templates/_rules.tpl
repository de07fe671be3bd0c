{{/* Permissions in the namespaces that the operator watches; config/rbac/role.yaml has the reasons. */}}
{{- define "etl-operator.rules" -}}
- apiGroups: [etl.router]
  resources: [etlrouterclusters]
  verbs: [list, watch]
- apiGroups: [etl.router]
  resources: [etlpipelines, etlsources, etltransforms, etlsinks]
  verbs: [list, watch, patch]
- apiGroups: [etl.router]
  resources:
  - etlrouterclusters/status
  - etlpipelines/status
  - etlsources/status
  - etltransforms/status
  - etlsinks/status
  verbs: [patch]
- apiGroups: [etl.router]
  resources: [etlrouterclusters/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [configmaps, services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, delete]
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, watch, patch]
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end -}}

{{- define "etl-operator.clusterRules" -}}
- apiGroups: [storage.k8s.io]
  resources: [storageclasses]
  verbs: [get]
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  resourceNames:
  - etlrouterclusters.etl.router
  - etlpipelines.etl.router
  - etlsources.etl.router
  - etltransforms.etl.router
  - etlsinks.etl.router
  verbs: [get]
{{- end -}}

{{- define "etl-operator.eventRules" -}}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
