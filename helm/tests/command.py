"""The pods' command line: run by a real shell as Kubernetes would, held against the binary."""

import re
import subprocess
import tempfile
from pathlib import Path


def workload(docs):
    found = next(d for d in docs if d["kind"] == "StatefulSet")
    return found, found["spec"]["template"]["spec"]["containers"][0]


def expand(text, env):
    """Kubernetes' own substitution: $(NAME) when known, untouched when not, $$ for one dollar."""
    def one(match):
        if match.group(0) == "$$":
            return "$"
        return env.get(match.group(1), match.group(0))
    return re.sub(r"\$\$|\$\(([^)]*)\)", one, text)


def started(docs, ordinal, zone):
    """What `roomcast` gets in the pod with this ordinal, through the rendered shell line."""
    workload_set, box = workload(docs)
    env = {"POD_NAME": f"{workload_set['metadata']['name']}-{ordinal}", "ZONE": zone}
    line = [expand(part, env) for part in box["command"] + box["args"]]
    with tempfile.TemporaryDirectory() as scratch:
        stub = Path(scratch) / "roomcast"
        stub.write_text('#!/bin/sh\nfor a in "$@"; do printf "%s\\n" "$a"; done\n')
        stub.chmod(0o755)
        path = f"{scratch}:/usr/bin:/bin"
        done = subprocess.run(line, env={**env, "PATH": path}, capture_output=True, text=True,
                              timeout=10, check=False)
    if done.returncode != 0:
        raise ValueError(f"the start line failed: {done.stderr}")
    return done.stdout.splitlines()


def flag(arguments, name):
    return arguments[arguments.index(name) + 1]


def check_start(docs):
    """Each pod gets its own id, lists all voters, and advertises the address listed for it."""
    problems = []
    workload_set, box = workload(docs)
    replicas = workload_set["spec"]["replicas"]
    ports = {p["name"]: p["containerPort"] for p in box["ports"]}
    for ordinal in range(replicas):
        arguments = started(docs, ordinal, "zone-a" if ordinal else "")
        node_id = flag(arguments, "--node-id")
        if arguments[0] != "serve" or node_id != str(ordinal + 1):
            problems.append(f"pod {ordinal} starts as {arguments[:3]}")
        if ("--zone" in arguments) != bool(ordinal):
            problems.append(f"pod {ordinal}: a zone is passed without one, or not passed")
        members = flag(arguments, "--initial-cluster").split(",")
        cluster = dict(member.split("=", 1) for member in members)
        if sorted(cluster) != [str(i + 1) for i in range(replicas)]:
            problems.append(f"--initial-cluster has the ids {sorted(cluster)}")
        if cluster.get(node_id) != flag(arguments, "--advertise-peer"):
            problems.append(f"pod {ordinal} advertises another address than the list has")
        name, service = workload_set["metadata"]["name"], workload_set["spec"]["serviceName"]
        if not flag(arguments, "--advertise-peer").startswith(f"{name}-{ordinal}.{service}."):
            problems.append(f"pod {ordinal} advertises a name that Kubernetes will not resolve")
        for name in ("client", "api", "peer"):
            if flag(arguments, f"--{name}-addr").rsplit(":", 1)[1] != str(ports[name]):
                problems.append(f"pod {ordinal} listens on another {name} port than it declares")
        if "$" in " ".join(arguments):
            problems.append(f"pod {ordinal}: something was left unexpanded")
    return problems


def check_flags(docs, help_text):
    """Every flag and every ROOMCAST_* variable of the chart is one the binary itself names."""
    known = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", help_text))
    variables = {"ROOMCAST_" + name[2:].upper().replace("-", "_") for name in known}
    variables |= set(re.findall(r"ROOMCAST_[A-Z_]+", help_text))
    used = [a for a in started(docs, 0, "zone-a") if a.startswith("--")]
    problems = [f"`serve` has no flag {name}" for name in used if name not in known]
    for entry in workload(docs)[1]["env"]:
        name = entry["name"]
        if name.startswith("ROOMCAST_") and name not in variables:
            problems.append(f"`serve --help` does not name {name}")
    return problems


# What the reader's Secrets hold, by the files that the chart mounts.
SECRETS = {
    "/etc/roomcast/api/tokens": "a-token-of-thirty-two-characters\n",
    "/etc/roomcast/webhooks/secrets": "whsec_" + 43 * "A" + "=\n",
}


def with_file(scratch, argument):
    """The same argument; a file of a Secret's volume is one that is there."""
    if argument not in SECRETS:
        return argument
    file = Path(scratch) / Path(argument).name
    file.write_text(SECRETS[argument])
    return str(file)


def check_values(docs, binary):
    """The binary accepts every value: given one wrong flag besides, it complains of that one alone.

    It names all wrong values at once and opens nothing then, so nothing is started here.
    """
    arguments = started(docs, 0, "zone-a") + ["--keys-max", "nonsense"]
    with tempfile.TemporaryDirectory() as scratch:
        arguments = [with_file(scratch, argument) for argument in arguments]
        done = subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=10,
                              check=False, env={"PATH": "/usr/bin:/bin"})
    refused = [line.strip() for line in done.stderr.splitlines() if line.startswith("  ")]
    if done.returncode == 0 or not any("--keys-max" in line for line in refused):
        return [f"`serve` did not refuse a planted wrong value: {done.stderr}"]
    return [f"`serve` refuses: {line}" for line in refused if "--keys-max" not in line]
