{{/* The one name all objects are built from. 52: a StatefulSet adds 11 characters to it in a label. */}}
{{- define "roomcast.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Never holds a version: a StatefulSet's selector and claim templates cannot be changed later. */}}
{{- define "roomcast.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: node
{{- end -}}

{{- define "roomcast.labels" -}}
{{ include "roomcast.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "roomcast.headlessName" -}}
{{ include "roomcast.fullname" . }}-peers
{{- end -}}

{{- define "roomcast.apiName" -}}
{{ include "roomcast.fullname" . }}-api
{{- end -}}

{{- define "roomcast.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "roomcast.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "roomcast.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* What follows a pod's name in its stable address; addresses of pods change, these never do. */}}
{{- define "roomcast.peerSuffix" -}}
.{{ include "roomcast.headlessName" . }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:{{ .Values.ports.peer }}
{{- end -}}

{{/* 1=<pod 0>,2=<pod 1>,… : the id is the ordinal plus one, because ids start at 1. */}}
{{- define "roomcast.initialCluster" -}}
{{- $members := list -}}
{{- range $ordinal := until (int .Values.replicas) -}}
{{- $members = append $members (printf "%d=%s-%d%s" (add1 $ordinal) (include "roomcast.fullname" $) $ordinal (include "roomcast.peerSuffix" $)) -}}
{{- end -}}
{{- join "," $members -}}
{{- end -}}

{{/* Refusals that a schema cannot express. */}}
{{- define "roomcast.guards" -}}
{{- $ports := list (int .Values.ports.client) (int .Values.ports.api) (int .Values.ports.peer) -}}
{{- if ne (len ($ports | uniq)) 3 -}}
{{- fail "ports: client, api and peer must be three different ports" -}}
{{- end -}}
{{- $drain := add (int .Values.drain.endpointDelaySeconds) (int .Values.drain.timeoutSeconds) 15 -}}
{{- if lt (int .Values.drain.terminationGracePeriodSeconds) (int $drain) -}}
{{- fail (printf "drain.terminationGracePeriodSeconds: must be at least %d (endpointDelaySeconds + timeoutSeconds + 15), or a draining node is killed" $drain) -}}
{{- end -}}
{{- if ge (int .Values.updateStrategy.partition) (int .Values.replicas) -}}
{{- fail "updateStrategy.partition: must be smaller than replicas, or no pod would ever be updated" -}}
{{- end -}}
{{- if and .Values.webhooks.urls (eq .Values.mode "production") (not .Values.webhooks.secret) -}}
{{- fail "webhooks.secret: required in production: a Secret with the key `secrets`" -}}
{{- end -}}
{{- if and .Values.service.nodePort (eq .Values.service.type "ClusterIP") -}}
{{- fail "service.nodePort: needs service.type NodePort or LoadBalancer" -}}
{{- end -}}
{{- /* Answers only where Helm talks to a cluster; elsewhere the binary refuses the unknown node itself. */ -}}
{{- $running := lookup "apps/v1" "StatefulSet" .Release.Namespace (include "roomcast.fullname" .) -}}
{{- if $running -}}
{{- if ne (int $running.spec.replicas) (int .Values.replicas) -}}
{{- fail (printf "replicas: this release runs %d voters; this version cannot add or remove nodes" (int $running.spec.replicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
