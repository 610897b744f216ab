{{/* The flags of `roomcast serve`; helm/check holds each against the binary's own help. */}}
{{- define "roomcast.args" -}}
- --data-dir
- /var/lib/roomcast/node
- --client-addr
- {{ printf "%s:%d" .Values.listenHost (int .Values.ports.client) | quote }}
- --api-addr
- {{ printf "%s:%d" (ternary .Values.listenHost "127.0.0.1" .Values.api.expose) (int .Values.ports.api) | quote }}
- --peer-addr
- {{ printf "%s:%d" .Values.listenHost (int .Values.ports.peer) | quote }}
- --advertise-peer
- {{ printf "$(POD_NAME)%s" (include "roomcast.peerSuffix" .) | quote }}
- --initial-cluster
- {{ include "roomcast.initialCluster" . | quote }}
- --mode
- {{ .Values.mode }}
- --groups
- {{ .Values.groups | quote }}
- --drain-timeout
- {{ printf "%ds" (int .Values.drain.timeoutSeconds) | quote }}
{{- with .Values.drain.pace }}
- --drain-pace
- {{ . | quote }}
{{- end }}
{{- with .Values.cluster.retention }}
- --retention
- {{ . | quote }}
{{- end }}
{{- with .Values.cluster.retentionBytes }}
- --retention-bytes
- {{ . | quote }}
{{- end }}
{{- with .Values.cluster.resumeWindow }}
- --resume-window
- {{ . | quote }}
{{- end }}
{{- if .Values.api.tokenSecret }}
- --api-token-file
- /etc/roomcast/api/tokens
{{- end }}
{{- with .Values.backends.policies }}
- --backend-policies
- {{ include "roomcast.pairs" . | quote }}
{{- end }}
{{- with .Values.webhooks.urls }}
- --webhooks
- {{ include "roomcast.pairs" . | quote }}
{{- end }}
{{- if .Values.webhooks.secret }}
- --webhook-secret-file
- /etc/roomcast/webhooks/secrets
{{- end }}
{{- with .Values.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A map as the flags take it: a=b,c=d. */}}
{{- define "roomcast.pairs" -}}
{{- $pairs := list -}}
{{- range $key, $value := . -}}
{{- $pairs = append $pairs (printf "%s=%s" $key $value) -}}
{{- end -}}
{{- join "," $pairs -}}
{{- end -}}

{{/* Secrets as files, by the names of their volumes; read when a node starts. */}}
{{- define "roomcast.secretVolumes" -}}
{{- with .Values.api.tokenSecret }}
- name: api
  secret:
    secretName: {{ . | quote }}
{{- end }}
{{- with .Values.webhooks.secret }}
- name: webhooks
  secret:
    secretName: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Where the pods may stand. Two terms, never hard on zones: a drained zone would leave a pod pending. */}}
{{- define "roomcast.placement" -}}
{{- if .Values.zoneSpread -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "roomcast.selectorLabels" . | nindent 8 }}
{{ end -}}
{{- $affinity := deepCopy .Values.affinity -}}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" (include "roomcast.selectorLabels" . | fromYaml)) -}}
{{- if eq .Values.antiAffinity "hard" -}}
{{- $_ := set $affinity "podAntiAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (list $term)) -}}
{{- else if eq .Values.antiAffinity "soft" -}}
{{- $weighted := dict "weight" 100 "podAffinityTerm" $term -}}
{{- $_ := set $affinity "podAntiAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" (list $weighted)) -}}
{{- end -}}
{{- if $affinity -}}
affinity: {{- toYaml $affinity | nindent 2 }}
{{- end -}}
{{- end -}}
