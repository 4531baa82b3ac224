"""Checks what schemas cannot: check.py RENDERED [CONFIGURATION]

RENDERED has the manifests that kustomize and helm made. CONFIGURATION is docs/CONFIGURATION.md
unless another is given.
"""

import pathlib
import re
import shlex
import sys
import tomllib

import compose_spec
import yaml

import keys
import kubernetes

DEPLOY = pathlib.Path("deploy")
# What a unit must have whatever its score. Later lines of a unit win or add, so each stands once.
CONFINED = {
    "User", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "AmbientCapabilities=", "ProtectSystem=strict",
    "ProtectHome=yes", "PrivateTmp=yes", "PrivateDevices=yes", "ProtectProc=invisible", "StateDirectory",
    "RestrictNamespaces=yes", "LockPersonality=yes", "RestrictSUIDSGID=yes", "RestrictAddressFamilies",
}
CONFINED_RULES = {"IPAddressDeny=any", "IPAddressAllow=localhost"}
# In seconds: a stop without shutdown_notice_ms.
STOP_MAX_S = 36
SETTINGS = re.compile(r"\bROCKET_[A-Z][A-Z_]*[A-Z]\b")
LITERALS = {
    "a private key": re.compile(r"BEGIN [A-Z ]*PRIVATE KEY"),
    "a password in a URL": re.compile(r"[a-z]+://[^\s:/@\"']+:(?![<$…{])[^\s@/\"']+@"),
    "32 bytes": re.compile(r"(?<![0-9a-zA-Z+/:])(?:[0-9a-f]{64}|[0-9A-Za-z+/]{43}=)(?![0-9a-zA-Z+/])"),
    "a password": re.compile(r"(?i)(?:password|secret|token)\s*[:=]\s*[\"']?(?![<$\[{…])[^\s\"'<$#{}\[\],]{6,}"),
}
# Names of secrets and of their files, which are references.
REFERENCES = re.compile(r"secretName|secretKeyRef|/run/secrets/|root_secret = \"<|secrets/")


def files():
    return [p for p in sorted(DEPLOY.rglob("*")) if p.is_file() and "secrets" not in p.parts and p.name != ".env"]


def texts(documented):
    """Settings by name in all files, and secrets that are written down."""
    for path in files():
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for name in SETTINGS.findall(line):
                for problem in keys.variable(documented, name, None):
                    yield f"{path}:{number}: {problem}"
            for what, pattern in LITERALS.items():
                if pattern.search(line) and not REFERENCES.search(line):
                    yield f"{path}:{number}: {what} is written down"


def interpolated(text):
    """The compose file as it is with the defaults of its variables."""
    values = dict(line.split("=", 1) for line in (DEPLOY / "compose/.env.example").read_text().splitlines() if line[:1] not in ("", "#"))
    unset = []

    def value(found):
        name, kind, default = found.groups()
        if name not in values and kind != ":-":
            unset.append(name)
        return values.get(name, default)

    return re.sub(r"\$\{([A-Z_]+)(?:(:-|:\?)([^}]*))?\}", value, text), unset


def compose(documented):
    text, unset = interpolated((DEPLOY / "compose/compose.yaml").read_text())
    for name in unset:
        yield f"{name} is not in .env.example"
    try:
        compose_spec.PyCompose.from_yaml(yaml.safe_dump(resolved := yaml.safe_load(text))).validate()
    except ValueError as error:
        yield str(error)
        return
    services, networks = resolved["services"], resolved["networks"]
    for name, service in services.items():
        for problem in compose_service(name, service, services, documented):
            yield f"{name}: {problem}"
        inside = set(service.get("networks", [])) - {n for n, v in networks.items() if (v or {}).get("internal")}
        if inside and name != "proxy":
            yield f"{name}: it has a way out by {sorted(inside)}"
    for name, secret in resolved["secrets"].items():
        if set(secret) - {"file", "environment"}:
            yield f"the secret {name} is not a file or a variable"
        if f"secrets/{name}" not in (DEPLOY / "compose/create-secrets").read_text() and not re.match(r"(rules|callers)\.", name):
            yield f"create-secrets does not make {name}"
    if set(services["rules"]["networks"]) != {"rules"} or {"tollgate.toml", "postgres-password"} & set(services["rules"]["secrets"]):
        yield "rules: it is in another network, or has a secret that is not its own"


def compose_service(name, service, services, documented):
    if service.get("read_only") is not True or service.get("cap_drop") != ["ALL"] or service.get("cap_add"):
        yield "its files can be written, or it keeps capabilities"
    if service.get("security_opt") != ["no-new-privileges:true"] or service.get("privileged"):
        yield "it can get new privileges"
    if "mem_limit" not in service or "pids_limit" not in service:
        yield "its memory or its processes have no limit"
    for key, value in service.get("environment", {}).items():
        if re.search("SECRET|PASSWORD|TOKEN|_KEY$", key) and not str(value).startswith("/run/secrets/"):
            yield f"{key} is not a file"
    for other, on in service.get("depends_on", {}).items():
        if on["condition"] == "service_healthy" and "healthcheck" not in services[other]:
            yield f"it waits for the health of {other}, which has no health check"
    if not service["image"].startswith("tollgate"):
        return
    if service.get("user") != "65534:65534":
        yield f"its user is {service.get('user')}"
    yield from keys.command(documented, service["command"])
    environment = service["environment"]
    for key, value in environment.items():
        yield from keys.variable(documented, key, str(value))
        if key == "ROCKET_DATABASES":
            yield f"{key} is in the environment, not in a file"
    stop_s = STOP_MAX_S + int(environment.get("ROCKET_TOLLGATE_SHUTDOWN_NOTICE_MS", 0)) / 1000
    if int(service["stop_grace_period"].removesuffix("s")) < stop_s:
        yield "stop_grace_period is shorter than a stop may take"


def units(documented):
    for path in sorted((DEPLOY / "systemd").glob("*.service")):
        text = path.read_text()
        for line in re.findall(r"^Environment=(.*)$", text, flags=re.M):
            for setting in shlex.split(line):
                name, _, value = setting.partition("=")
                for problem in keys.variable(documented, name, value):
                    yield f"{path}: {problem}"
        lines = [line for line in text.splitlines() if re.match(r"[A-Za-z]+=", line)]
        for wanted in CONFINED | (CONFINED_RULES if "rules" in path.name else set()):
            key = wanted.split("=")[0]
            given = [line for line in lines if line.startswith(f"{key}=")]
            if len(given) != 1 or ("=" in wanted and given != [wanted]):
                yield f"{path}: {key} is {given}, expected {wanted}"
        if "rules" in path.name and any(line.startswith(("LoadCredential", "EnvironmentFile")) for line in lines):
            yield f"{path}: rules workers get a secret"
        start = shlex.split(re.findall(r"^ExecStart=(.*)$", text, flags=re.M)[0])
        for problem in keys.command(documented, start):
            yield f"{path}: {problem}"
        if int((re.findall(r"^TimeoutStopSec=(\d+)$", text, flags=re.M) or ["0"])[0]) < STOP_MAX_S:
            yield f"{path}: TimeoutStopSec is shorter than a stop may take"
    for problem in keys.file(documented, (DEPLOY / "systemd/tollgate.toml").read_text()):
        yield f"{DEPLOY}/systemd/tollgate.toml: {problem}"


def versions():
    """The version of the program, wherever an image or the chart is named by it."""
    version = tomllib.loads(pathlib.Path("Cargo.toml").read_text())["package"]["version"]
    named = {
        "helm/tollgate/Chart.yaml": [f"version: {version}", f"appVersion: {version}"],
        "kubernetes/base/kustomization.yaml": [f"newTag: {version}"],
        "kubernetes/example/kustomization.yaml": [f"newTag: {version}"],
        "compose/compose.yaml": [f"tollgate:{version}}}"],
        "compose/.env.example": [f"tollgate:{version}"],
    }
    for path, wanted in named.items():
        text = (DEPLOY / path).read_text()
        yield from (f"{DEPLOY}/{path}: {part!r} is missing" for part in wanted if part not in text)


def main(rendered, configuration="docs/CONFIGURATION.md"):
    documented = keys.Documented(pathlib.Path(configuration).read_text())
    found = list(texts(documented))
    found += [f"deploy/compose/compose.yaml: {problem}" for problem in compose(documented)]
    found += [*units(documented), *versions()]
    manifests = sorted(pathlib.Path(rendered).glob("*.yaml"))
    for path in manifests:
        documents = [d for d in yaml.safe_load_all(path.read_text()) if d]
        found += [f"{path.stem}: {problem}" for problem in kubernetes.check(documents, documented)]
    places = {}
    for problem in found:
        place, _, what = problem.rpartition(": ")
        places.setdefault(what, {})[place] = None
    for what, where in places.items():
        first, more = next(iter(where)), f" and {len(where) - 1} more" if len(where) > 1 else ""
        print(f"{first}: {what}{more and f' (here{more})'}", file=sys.stderr)
    print(f"{len(files())} files and {len(manifests)} sets of manifests: {len(places)} problems")
    return bool(found)


sys.exit(main(*sys.argv[1:]))
