{{- define "tollgate.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65534
  runAsGroup: 65534
  fsGroup: 65534
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "tollgate.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  privileged: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Kubernetes puts the values of the first four into the fifth. */}}
{{- define "tollgate.databaseEnvironment" -}}
{{- $secret := .Values.database.secretName }}
{{- range $name, $key := dict "DATABASE_URL" .Values.database.keys.url "DATABASE_APP_URL" .Values.database.keys.app "DATABASE_JOURNAL_URL" .Values.database.keys.journal "DATABASE_SYSTEM_URL" .Values.database.keys.system }}
- name: {{ $name }}
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ $key }}}}
{{- end }}
- name: ROCKET_DATABASES
  value: >-
    {main={url="$(DATABASE_URL)",app_url="$(DATABASE_APP_URL)",journal_url="$(DATABASE_JOURNAL_URL)",system_url="$(DATABASE_SYSTEM_URL)",max_connections={{ .Values.database.maxConnections }}}}
- name: ROCKET_TOLLGATE_ROOT_SECRET
  valueFrom: {secretKeyRef: {name: {{ .Values.rootSecret.secretName }}, key: {{ .Values.rootSecret.key }}}}
{{- end }}

{{- define "tollgate.rulesTls" -}}
tls={certificates="/etc/tollgate/rules-tls/tls.crt",key="/etc/tollgate/rules-tls/tls.key",authorities="/etc/tollgate/rules-tls/ca.crt"}
{{- end }}

{{- define "tollgate.rulesEnvironment" -}}
- name: ROCKET_TOLLGATE_RULES
  value: >-
    {listen="0.0.0.0:8200",{{ include "tollgate.rulesTls" . }}}
{{- end }}

{{/* What api and background have in common. */}}
{{- define "tollgate.nodeEnvironment" -}}
{{ include "tollgate.databaseEnvironment" . | trim }}
- name: ROCKET_TOLLGATE_ISSUER
  value: {{ required "issuer: the https: address that clients know" .Values.issuer | quote }}
- name: ROCKET_TOLLGATE_RULES
  value: >-
    {workers=["https://{{ include "tollgate.name" . }}-rules:8200"],fallback="{{ .Values.rules.fallback }}",{{ include "tollgate.rulesTls" . }}}
{{- range $key, $value := .Values.settings }}
- name: ROCKET_TOLLGATE_{{ upper $key }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{/* Takes {root, component, values, environment, startupMaxSeconds}; grpc and tlsSecret if it has them. */}}
{{- define "tollgate.deployment" -}}
{{- $scheme := ternary "HTTPS" "HTTP" (not (empty .tlsSecret)) -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "tollgate.name" .root }}-{{ .component }}
  labels: {{- include "tollgate.labels" . | nindent 4 }}
spec:
  {{- if not (dig "autoscaling" "enabled" false .values) }}
  replicas: {{ .values.replicas }}
  {{- end }}
  selector:
    matchLabels: {{- include "tollgate.selector" . | nindent 6 }}
  strategy:
    type: {{ .values.strategy }}
    {{- if eq .values.strategy "RollingUpdate" }}
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
    {{- end }}
  template:
    metadata:
      labels: {{- include "tollgate.labels" . | nindent 8 }}
      {{- with .values.podAnnotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      {{- include "tollgate.podSecurity" .root | nindent 6 }}
      # A stop takes at most the notice and 36 seconds by the program's other limits.
      terminationGracePeriodSeconds: {{ add 50 (div .root.Values.shutdownNoticeMs 1000) }}
      # Short of machines or zones, pods share one rather than wait.
      topologySpreadConstraints:
        {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
        - maxSkew: 1
          topologyKey: {{ . }}
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{- include "tollgate.selector" $ | nindent 14 }}
        {{- end }}
      {{- with .values.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .values.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: tollgate
          image: {{ include "tollgate.image" .root | quote }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          args: [serve, --roles, {{ .component }}]
          env:
            - name: ROCKET_ADDRESS
              value: 0.0.0.0
            - name: ROCKET_PORT
              value: "8000"
            - name: ROCKET_TOLLGATE_SHUTDOWN_NOTICE_MS
              value: {{ .root.Values.shutdownNoticeMs | int | quote }}
            {{- .environment | trim | nindent 12 }}
            {{- if .tlsSecret }}
            - name: ROCKET_TOLLGATE_TLS
              value: >-
                {certificates="/etc/tollgate/tls/tls.crt",key="/etc/tollgate/tls/tls.key"}
            {{- end }}
          ports:
            - {name: http, containerPort: 8000}
            {{- if .grpc }}
            - {name: grpc, containerPort: 8200}
            {{- end }}
          startupProbe:
            httpGet: {path: /health, port: http, scheme: {{ $scheme }}}
            periodSeconds: 5
            timeoutSeconds: 3
            failureThreshold: {{ div .startupMaxSeconds 5 }}
          livenessProbe:
            httpGet: {path: /health, port: http, scheme: {{ $scheme }}}
            periodSeconds: 5
            timeoutSeconds: 3
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /ready, port: http, scheme: {{ $scheme }}}
            periodSeconds: 2
            timeoutSeconds: 6
            failureThreshold: 2
          resources: {{- toYaml .values.resources | nindent 12 }}
          {{- include "tollgate.containerSecurity" .root | nindent 10 }}
          volumeMounts:
            - {name: state, mountPath: /var/lib/tollgate}
            - {name: rules-tls, mountPath: /etc/tollgate/rules-tls, readOnly: true}
            {{- if .tlsSecret }}
            - {name: tls, mountPath: /etc/tollgate/tls, readOnly: true}
            {{- end }}
      volumes:
        # Compiled plugins, which can be made again. Checkpoints are in the log as well.
        - name: state
          emptyDir: {sizeLimit: 2Gi}
        - name: rules-tls
          secret: {secretName: {{ .root.Values.rules.tls.secretName }}, defaultMode: 0440}
        {{- if .tlsSecret }}
        - name: tls
          secret: {secretName: {{ .tlsSecret }}, defaultMode: 0440}
        {{- end }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "tollgate.name" .root }}-{{ .component }}
  labels: {{- include "tollgate.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{- include "tollgate.selector" . | nindent 6 }}
{{- if dig "autoscaling" "enabled" false .values }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "tollgate.name" .root }}-{{ .component }}
  labels: {{- include "tollgate.labels" . | nindent 4 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "tollgate.name" .root }}-{{ .component }}
  minReplicas: {{ .values.autoscaling.minReplicas }}
  maxReplicas: {{ .values.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: {{ .values.autoscaling.cpuPercent }}}}
  behavior:
    scaleUp: {stabilizationWindowSeconds: 0}
    # A short lull does not take away what the next peak needs.
    scaleDown: {stabilizationWindowSeconds: 600}
{{- end }}
{{- end }}
