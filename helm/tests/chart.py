"""The claims about the rendered chart; started by helm/check inside its own venv.

Arguments: helm, roomcast binary, Kubernetes version to lint for, Kubernetes versions to render for.
Each claim prints a line only when it fails; the closing line counts them.
"""

import copy
import subprocess
import sys
from pathlib import Path

import yaml

from command import check_flags, check_start, check_values
from links import check_links

CHART = Path(__file__).resolve().parent.parent
RELEASE, NAMESPACE = "rel", "rooms"
VALUES = [None, *sorted((CHART / "ci").glob("*-values.yaml"))]

# What must be refused, and a word of the reason that the reader must get.
REFUSED = [
    (["replicas=2"], "replicas"),
    (["replicaCount=3"], "replicaCount"),
    (["mode=open"], "mode"),
    (["image.digest=sha256:short"], "digest"),
    (["cluster.retention=soon"], "retention"),
    (["ports.api=3000"], "three different ports"),
    (["drain.terminationGracePeriodSeconds=59"], "at least 60"),
    (["updateStrategy.partition=3"], "partition"),
    (["service.nodePort=30000"], "nodePort"),
    (["backends.policies./chat=open"], "policies"),
    (["webhooks.urls./chat=ftp://app"], "urls"),
    (["webhooks.urls./chat=http://app"], "webhooks.secret"),
]


class Report:
    """Counts claims; a failed one is printed at once."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def claim(self, where, text, holds):
        if holds:
            self.passed += 1
            return
        self.failed += 1
        print(f"chart: FAILED  {where}: {text}", flush=True)


def run(arguments, stdin=None):
    return subprocess.run(
        arguments, input=stdin, capture_output=True, text=True, timeout=120, check=False)


def template(helm, kube, values=None, sets=()):
    command = [helm, "template", RELEASE, str(CHART), "-n", NAMESPACE]
    command += ["--kube-version", f"{kube}.0"]
    if values:
        command += ["-f", str(values)]
    for pair in sets:
        command += ["--set", pair]
    return run(command)


def validate(kube, text):
    """Holds it against Kubernetes' own schemas, where an unknown kind is only a warning."""
    tool = Path(sys.executable).parent / "kubernetes-validate"
    done = run([str(tool), "-k", kube, "--strict", "-"], stdin=text)
    output = done.stdout + done.stderr
    bad = [line for line in output.splitlines() if line.startswith(("ERROR", "WARN"))]
    return done.returncode == 0 and not bad, output.strip()


def check_matrix(report, helm, lint_version, kubes):
    """Lints, renders and validates every values file for every Kubernetes version."""
    rendered = {}
    for values in VALUES:
        name = values.name if values else "default values"
        command = [helm, "lint", "--strict", "--kube-version", lint_version, str(CHART)]
        lint = run(command + (["-f", str(values)] if values else []))
        report.claim(name, f"lints strictly\n{lint.stdout}{lint.stderr}", lint.returncode == 0)
        for kube in kubes:
            where = f"{name}, Kubernetes {kube}"
            done = template(helm, kube, values)
            report.claim(where, f"renders\n{done.stderr}", done.returncode == 0)
            if done.returncode != 0:
                continue
            valid, output = validate(kube, done.stdout)
            report.claim(where, f"fits the schemas\n{output}", valid)
            rendered[where] = [doc for doc in yaml.safe_load_all(done.stdout) if doc]
    return rendered


def check_refusals(report, helm, kube):
    for sets, word in REFUSED:
        done = template(helm, kube, sets=sets)
        text = f"is refused, and the reason names {word!r}\n{done.stderr}"
        report.claim(" ".join(sets), text, done.returncode != 0 and word in done.stderr)


def find(docs, kind, ending=""):
    return next(d for d in docs if d["kind"] == kind and d["metadata"]["name"].endswith(ending))


def workload(docs):
    return find(docs, "StatefulSet")["spec"]


def pod(docs):
    return workload(docs)["template"]["spec"]


def container(docs):
    return pod(docs)["containers"][0]


# One mistake each, planted in a good rendering: the link check must see every one of them.
PLANTED = {
    "service to a port that is not there":
        lambda d: find(d, "Service", "cast")["spec"]["ports"][0].update(targetPort="web"),
    "service that selects nothing":
        lambda d: find(d, "Service", "cast")["spec"]["selector"].update(tier="x"),
    "sticky service":
        lambda d: find(d, "Service", "cast")["spec"].update(sessionAffinity="ClientIP"),
    "peers unseen until ready":
        lambda d: find(d, "Service", "-peers")["spec"].update(publishNotReadyAddresses=False),
    "port without protocol": lambda d: container(d)["ports"][0].pop("protocol"),
    "disruption budget of other pods":
        lambda d: find(d, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].update(a="b"),
    "disruption of two at once":
        lambda d: find(d, "PodDisruptionBudget")["spec"].update(maxUnavailable=2),
    "probe of a missing port":
        lambda d: container(d)["readinessProbe"]["httpGet"].update(port="http"),
    "liveness that asks for quorum":
        lambda d: container(d)["livenessProbe"]["httpGet"].update(path="/readyz"),
    "mount without a volume": lambda d: container(d)["volumeMounts"][0].update(name="disk"),
    "disk not mounted where the data is":
        lambda d: container(d)["volumeMounts"][0].update(mountPath="/x"),
    "service links":
        lambda d: pod(d).update(enableServiceLinks=True),
    "pods one after the other":
        lambda d: workload(d).update(podManagementPolicy="OrderedReady"),
    "headless service of another name": lambda d: workload(d).update(serviceName="x"),
    "version in the claim's labels":
        lambda d: workload(d)["volumeClaimTemplates"][0]["metadata"]["labels"].update(version="1"),
    "policy for a port that is not there":
        lambda d: find(d, "NetworkPolicy")["spec"]["ingress"][0]["ports"][0].update(port="web"),
    "root": lambda d: pod(d)["securityContext"].pop("runAsNonRoot"),
    "writable root": lambda d: container(d)["securityContext"].update(readOnlyRootFilesystem=False),
    "missing service account":
        lambda d: pod(d).update(serviceAccountName="x"),
}


def set_flag(docs, flag, value):
    arguments = container(docs)["args"]
    arguments[arguments.index(flag) + 1] = value


# The same for the start line, and for what the binary itself says.
PLANTED_START = {
    "an address the list does not have": lambda d: set_flag(d, "--advertise-peer", "x:5000"),
    "a port that is not declared": lambda d: set_flag(d, "--client-addr", "0.0.0.0:1"),
    "ids from zero": lambda d: container(d)["command"].__setitem__(
        2, container(d)["command"][2].replace(" + 1", "")),
    "a shell that does not pass the flags on": lambda d: container(d)["command"].__setitem__(
        2, container(d)["command"][2].replace('"$@"', "")),
}
PLANTED_BINARY = {
    "a flag that does not exist": lambda d: container(d)["args"].extend(["--colour", "red"]),
    "a value that is refused": lambda d: set_flag(d, "--groups", "none"),
    "a variable that does not exist":
        lambda d: container(d)["env"].append({"name": "ROOMCAST_COLOUR", "value": "red"}),
}


def start_problems(docs):
    """A start line so broken that it cannot be read is a problem like any other."""
    try:
        return check_start(docs)
    except ValueError as error:
        return [str(error)]


def check_planted(report, docs, plants, check):
    """A check that cannot fail is none: every planted mistake must be found."""
    for name, plant in plants.items():
        broken = copy.deepcopy(docs)
        plant(broken)
        report.claim(f"planted: {name}", "is found", bool(check(broken)))


def main():
    helm, binary, lint_version, *kubes = sys.argv[1:]
    report = Report()
    rendered = check_matrix(report, helm, lint_version, kubes)
    check_refusals(report, helm, kubes[-1])
    for where, docs in rendered.items():
        problems = check_links(docs) + start_problems(docs)
        report.claim(where, f"links and start command: {problems}", not problems)
    help_text = run([binary, "serve", "--help"])
    report.claim(binary, "answers `serve --help`", help_text.returncode == 0)

    def binary_problems(docs):
        return check_flags(docs, help_text.stdout) + check_values(docs, binary)

    for where, docs in rendered.items():
        problems = binary_problems(docs)
        report.claim(where, f"is what the binary takes: {problems}", not problems)
    default = next((docs for where, docs in rendered.items() if where.startswith("default")), None)
    report.claim("default values", "were rendered", default is not None)
    if default:
        check_planted(report, default, PLANTED, check_links)
        check_planted(report, default, PLANTED_START, start_problems)
        check_planted(report, default, PLANTED_BINARY, binary_problems)
    print(f"chart: {report.passed} passed, {report.failed} failed", flush=True)
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
