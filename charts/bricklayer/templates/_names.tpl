{{- define "bricklayer.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "bricklayer.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "bricklayer.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "bricklayer.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* The Deployment and what belongs to it. */}}
{{- define "bricklayer.operator" -}}
{{ include "bricklayer.fullname" . }}-operator
{{- end }}

{{- define "bricklayer.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "bricklayer.operator" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "bricklayer.selectorLabels" -}}
app.kubernetes.io/name: {{ include "bricklayer.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "bricklayer.labels" -}}
{{ include "bricklayer.selectorLabels" . }}
{{ include "bricklayer.otherLabels" . }}
{{- end }}

{{- define "bricklayer.glusterfsSelectorLabels" -}}
app.kubernetes.io/name: glusterfs
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: storage
{{- end }}

{{- /* The DaemonSet of the node plugin and what belongs to it. */}}
{{- define "bricklayer.node" -}}
{{ include "bricklayer.fullname" . }}-node
{{- end }}

{{- define "bricklayer.nodeServiceAccount" -}}
{{- if .Values.node.serviceAccount.create }}
{{- default (include "bricklayer.node" .) .Values.node.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.node.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "bricklayer.nodeSelectorLabels" -}}
app.kubernetes.io/name: {{ include "bricklayer.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: node
{{- end }}

{{- define "bricklayer.otherLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: bricklayer
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@DIGEST. Takes {image, tag}. */}}
{{- define "bricklayer.image" -}}
{{- $repository := .image.repository }}
{{- with .image.registry }}{{ $repository = printf "%s/%s" . $repository }}{{ end }}
{{- if .image.digest }}
{{- printf "%s@%s" $repository .image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (default .tag .image.tag) }}
{{- end }}
{{- end }}

{{- define "bricklayer.restKeys" -}}
{{- default (printf "%s-rest-keys" (include "bricklayer.fullname" .)) .Values.rest.auth.existingSecret }}
{{- end }}

{{- define "bricklayer.restTls" -}}
{{- default (printf "%s-rest-tls" (include "bricklayer.fullname" .)) .Values.rest.tls.existingSecret }}
{{- end }}

{{- /* The annotation that takes an object out of the guard of the admission policies. */}}
{{- define "bricklayer.unguarded" -}}
bricklayer.dev/unguarded
{{- end }}

{{- /* What src/intent/class.rs understands, and what it knows of Heketi's classes and does not use;
with blanks between. Case does not matter. */}}
{{- define "bricklayer.classParameters" -}}
allow clusterid clusters customepnameprefix deviceTags gidMax gidMin growth pvSource snapfactor volumenameprefix volumeoptions volumetype zoneChecking
{{- end }}

{{- define "bricklayer.classParametersOfHeketi" -}}
restauthenabled resturl restuser restuserkey secretname secretnamespace
{{- end }}
