"""Lints a Helm chart with each file of its values, and writes what it renders.

render_chart.py CHART FOLDER VALUES...
render_chart.py --refused CHART VALUES...   succeeds only if the chart refuses each file for the
                                            reason in its first line
"""

import pathlib
import sys

import helm_python as helm
import yaml

WARNING = 2


def findings(chart, values):
    report = helm.lint(chart, values, strict=True, kube_version="v1.34.0")
    found = [f"{m['path']}: {m['error']}" for m in report["messages"] if m["severity"] >= WARNING]
    return found + report["errors"]


def render(chart, values):
    with helm.Chart.load(chart) as loaded:
        loaded.validate_schema(values)
        parts = loaded.render(values, name="tollgate", namespace="tollgate", is_install=True)
    return {path: text for path, text in parts.items() if text.strip()}


def main(arguments):
    if arguments[0] == "--refused":
        return refused(*arguments[1:2], arguments[2:])
    chart, folder, files = arguments[0], pathlib.Path(arguments[1]), arguments[2:]
    folder.mkdir(parents=True, exist_ok=True)
    failed = False
    for file in map(pathlib.Path, files):
        values = yaml.safe_load(file.read_text())
        try:
            parts = render(chart, values)
            for problem in findings(chart, values):
                failed = True
                print(f"{file}: {problem}", file=sys.stderr)
        except helm.HelmError as error:
            failed = True
            print(f"{file}: {error}", file=sys.stderr)
            continue
        manifests = [text for path, text in sorted(parts.items()) if path.endswith(".yaml")]
        (folder / f"helm-{file.stem}.yaml").write_text("\n---\n".join(manifests))
        print(f"{file}: {len(manifests)} templates")
    return failed


def refused(chart, files):
    failed = False
    for file in files:
        text = pathlib.Path(file).read_text()
        wanted, said = text.splitlines()[0].removeprefix("# "), "nothing"
        try:
            render(chart, yaml.safe_load(text))
        except helm.HelmError as error:
            said = str(error)
        if wanted not in said:
            failed = True
            print(f"{file}: the chart should say {wanted}, and says {said}", file=sys.stderr)
    print(f"{len(files)} files")
    return failed


sys.exit(main(sys.argv[1:]))
