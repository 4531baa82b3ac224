{{- define "tollgate.databaseAndDns" -}}
- to: {{- toYaml .Values.networkPolicy.database.to | nindent 4 }}
  ports:
    - {protocol: TCP, port: {{ .Values.networkPolicy.database.port }}}
- to: {{- toYaml .Values.networkPolicy.dns.to | nindent 4 }}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end }}

{{- define "tollgate.workers" -}}
- to:
    - podSelector:
        matchLabels: {{- include "tollgate.selector" (dict "root" . "component" "rules") | nindent 10 }}
  ports:
    - {protocol: TCP, port: 8200}
{{- end }}

{{- define "tollgate.policy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "tollgate.name" .root }}-{{ .component }}
  labels: {{- include "tollgate.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{- include "tollgate.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
{{- end }}
