"""Checks of manifests that no schema can make: what a pod may do, and whom it can reach."""

import ipaddress
import re

import keys

NAME, COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/component"
GRPC, HTTP, DNS = 8200, 8000, 53
# In seconds: a stop without shutdown_notice_ms, and some time for a busy machine.
STOP_MAX_S = 36
DNS_SERVER = ({"k8s-app": "kube-dns"}, "kube-system")
OUTSIDE = ipaddress.ip_address("198.51.100.1")


def pods(documents):
    for document in documents:
        if document["kind"] in ("Deployment", "Job"):
            yield document, document["spec"]["template"]


def matches(selector, labels):
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions") or []:
        here = labels.get(expression["key"]) in expression.get("values", [])
        if {"In": here, "NotIn": not here}[expression["operator"]] is False:
            return False
    return True


class Network:
    """Who may reach whom by the policies, as a network that enforces them decides it."""

    def __init__(self, documents, namespace):
        self.policies = [d for d in documents if d["kind"] == "NetworkPolicy"]
        self.namespace = namespace

    def peer(self, peer, labels, namespace):
        if "ipBlock" in peer:
            return not isinstance(labels, dict) and labels in ipaddress.ip_network(peer["ipBlock"]["cidr"])
        if not isinstance(labels, dict):
            return False
        spaces = {"kubernetes.io/metadata.name": namespace}
        if "namespaceSelector" in peer:
            if not matches(peer["namespaceSelector"], spaces):
                return False
        elif namespace != self.namespace:
            return False
        return matches(peer.get("podSelector", {}), labels)

    def allowed(self, direction, labels, other, namespace, port, protocol="TCP"):
        kind, peers = ("Egress", "to") if direction == "egress" else ("Ingress", "from")
        applying = [
            p["spec"] for p in self.policies
            if kind in p["spec"].get("policyTypes", ["Ingress"]) and matches(p["spec"]["podSelector"], labels)
        ]
        rules = [rule for spec in applying for rule in spec.get(direction) or []]
        return not applying or any(
            (not rule.get(peers) or any(self.peer(p, other, namespace) for p in rule[peers]))
            and ("ports" not in rule or any((p["port"], p.get("protocol", "TCP")) == (port, protocol) for p in rule["ports"]))
            for rule in rules
        )

    def reaches(self, one, other, port):
        return self.allowed("egress", one, other, self.namespace, port) and self.allowed(
            "ingress", other, one, self.namespace, port
        )


def network(documents):
    labels = {t["metadata"]["labels"][COMPONENT]: t["metadata"]["labels"] for _, t in pods(documents)}
    space = next((d["metadata"].get("namespace") for d in documents if d["kind"] == "Deployment"), None)
    net = Network(documents, space or "tollgate")
    found = []

    def expect(wanted, got, text):
        if wanted != got:
            found.append(text)

    # A policy of all pods of the program that allows nothing.
    expect(True, any(
        not p["spec"].get("ingress") and not p["spec"].get("egress")
        and set(p["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        and all(matches(p["spec"]["podSelector"], l) for l in labels.values())
        for p in net.policies
    ), "no policy denies everything by default")
    worker = labels["rules"]
    for policy in net.policies:
        if matches(policy["spec"]["podSelector"], worker) and policy["spec"].get("egress") != []:
            found.append(f"{policy['metadata']['name']}: rules workers have a way out; expected egress: []")
    stranger = {NAME: "other"}
    for caller in ("api", "background"):
        one = labels[caller]
        expect(True, net.reaches(one, worker, GRPC), f"{caller} does not reach the rules workers")
        expect(False, net.reaches(one, worker, HTTP), f"{caller} reaches a port of the rules workers that is not theirs")
        expect(False, net.allowed("egress", one, OUTSIDE, None, 443), f"{caller} reaches the whole internet")
    for caller in labels:
        if caller == "rules":
            continue
        one = labels[caller]
        for protocol in ("UDP", "TCP"):
            expect(True, net.allowed("egress", one, *DNS_SERVER, DNS, protocol), f"{caller} cannot resolve names")
        own = [p["spec"].get("egress") or [] for p in net.policies if matches(p["spec"]["podSelector"], one)]
        databases = [
            peer for rules in own for rule in rules for peer in rule.get("to") or [{}]
            if not {p["port"] for p in rule.get("ports", [])} & {GRPC, DNS, 443}
        ]
        expect(True, bool(databases) and not any(net.peer(peer, one, net.namespace) for peer in databases),
               f"{caller} has no database, or the peer of its database is the program itself")
    for other in ([labels["migrate"]] if "migrate" in labels else []) + [worker, stranger, OUTSIDE]:
        for port in (GRPC, HTTP):
            for space in (net.namespace, "elsewhere"):
                expect(False, net.allowed("ingress", worker, other, space, port), f"{other} may call rules workers on {port}")
    expect(False, net.allowed("ingress", labels["api"], stranger, "elsewhere", HTTP), "anybody may call the API")
    return found


def container(container, spec, where):
    found = []
    both = {**spec.get("securityContext", {}), **container.get("securityContext", {})}
    wanted = {
        "runAsNonRoot": True, "runAsUser": 65534, "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False, "seccompProfile": {"type": "RuntimeDefault"},
    }
    found += [f"{where}: securityContext.{k} is {both.get(k)}" for k, v in wanted.items() if both.get(k) != v]
    if both.get("capabilities") != {"drop": ["ALL"]} or both.get("privileged"):
        found.append(f"{where}: it keeps capabilities or is privileged")
    for kind in ("requests", "limits"):
        for what in ("cpu", "memory", "ephemeral-storage"):
            if what not in container.get("resources", {}).get(kind, {}):
                found.append(f"{where}: resources.{kind}.{what} is missing")
    return found


def pod(document, template, maps, documented):
    spec, found = template["spec"], []
    where = f"{document['kind']}/{document['metadata']['name']}"
    role = template["metadata"]["labels"][COMPONENT]
    if spec.get("automountServiceAccountToken") is not False:
        found.append(f"{where}: it gets a token of the cluster")
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            found.append(f"{where}: {key}")
    if any("hostPath" in volume for volume in spec.get("volumes", [])):
        found.append(f"{where}: hostPath")
    notice_ms = 0
    for one in spec.get("initContainers", []) + spec["containers"]:
        found += container(one, spec, where)
        found += [f"{where}: {p}" for p in keys.command(documented, one.get("args", []))]
        variables = {e["name"]: e.get("value") for e in one.get("env", [])}
        for source in one.get("envFrom", []):
            given = maps.get(source.get("configMapRef", {}).get("name"))
            if given is None:
                found.append(f"{where}: a source of its environment is not a map that is here")
            variables = {**(given or {}), **variables}
        for name, value in variables.items():
            found += [f"{where}: {p}" for p in keys.variable(documented, name, value)]
            secret = re.search("SECRET|PASSWORD|_URL$|TOKEN|DATABASES", name)
            if secret and value is not None and not re.fullmatch(r'[{}a-z_=,"0-9]*(\$\([A-Z_]+\)[{}a-z_=,"0-9]*)+', value):
                found.append(f"{where}: {name} has a literal value")
        if role == "rules":
            for name in variables:
                if re.search("DATABASE|ROOT_SECRET", name):
                    found.append(f"{where}: rules workers get {name}")
        notice_ms = max(notice_ms, int(variables.get("ROCKET_TOLLGATE_SHUTDOWN_NOTICE_MS") or 0))
    if document["kind"] == "Deployment":
        found += deployment(document, spec, where, role, notice_ms)
    return found


def deployment(document, spec, where, role, notice_ms):
    found = []
    grace = spec.get("terminationGracePeriodSeconds", 30)
    if grace < STOP_MAX_S + notice_ms / 1000:
        found.append(f"{where}: terminationGracePeriodSeconds {grace} is shorter than a stop may take")
    one = spec["containers"][0]
    if one["args"] != ["serve", "--roles", role]:
        found.append(f"{where}: its command is {one['args']}")
    for probe, path in (("startupProbe", "/health"), ("livenessProbe", "/health"), ("readinessProbe", "/ready")):
        if one.get(probe, {}).get("httpGet", {}).get("path") != path:
            found.append(f"{where}: {probe} does not ask {path}")
    if len(spec.get("topologySpreadConstraints", [])) < 2:
        found.append(f"{where}: nothing spreads its pods over machines and zones")
    labels = document["spec"]["template"]["metadata"]["labels"]
    selectors = [c["labelSelector"] for c in spec.get("topologySpreadConstraints", [])] + [document["spec"]["selector"]]
    if not all(matches(s, labels) for s in selectors):
        found.append(f"{where}: a selector does not select its own pods")
    return found


def together(documents):
    """What belongs to each deployment, and which names have to agree."""
    found = []
    labels = {t["metadata"]["labels"][COMPONENT]: t["metadata"]["labels"] for d, t in pods(documents) if d["kind"] == "Deployment"}
    if set(labels) != {"api", "rules", "background"}:
        return [f"deployments of other roles: {sorted(labels)}"]

    def kinds(kind):
        return [d for d in documents if d["kind"] == kind]

    for role, own in labels.items():
        others = [l for r, l in labels.items() if r != role]
        budgets = [d["spec"]["selector"] for d in kinds("PodDisruptionBudget")]
        if not any(matches(s, own) and not any(matches(s, o) for o in others) for s in budgets):
            found.append(f"{role} has no PodDisruptionBudget of its own")
    scaled = {d["spec"]["scaleTargetRef"]["name"] for d in kinds("HorizontalPodAutoscaler")}
    for document, template in pods(documents):
        fixed, name = "replicas" in document["spec"], document["metadata"]["name"]
        if document["kind"] == "Deployment" and fixed == (name in scaled):
            found.append(f"{name}: either replicas or a HorizontalPodAutoscaler")
    services = {d["metadata"]["name"]: d["spec"] for d in kinds("Service")}
    for name, spec in services.items():
        if sum(matches({"matchLabels": spec["selector"]}, own) for own in labels.values()) != 1:
            found.append(f"Service/{name} does not select exactly one role")
    headless = [n for n, s in services.items() if s.get("clusterIP") == "None" and matches({"matchLabels": s["selector"]}, labels["rules"])]
    if not headless:
        found.append("the service of the rules workers is not headless")
    text = str(documents)
    for host, port in set(re.findall(r'workers=\["https://([a-z0-9.-]+):(\d+)"', text)):
        if host not in headless or int(port) != services[host]["ports"][0]["port"]:
            found.append(f"workers are looked for at {host}:{port}, which is not their service")
    if any(d["kind"] == "Secret" for d in documents):
        found.append("a Secret: secrets are only referred to")
    return found


def check(documents, documented):
    maps = {d["metadata"]["name"]: d["data"] for d in documents if d["kind"] == "ConfigMap"}
    found = together(documents)
    for document, template in pods(documents):
        found += pod(document, template, maps, documented)
    if any(d["kind"] == "NetworkPolicy" for d in documents):
        found += network(documents)
    return found
