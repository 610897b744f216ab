"""Links between the chart's objects, which neither Helm nor Kubernetes' schemas check."""

TCP = "TCP"


def check_links(docs):
    """Problems as sentences; empty when all is well. `docs` is one whole rendering."""
    sets = [d for d in docs if d["kind"] == "StatefulSet"]
    if len(sets) != 1:
        return [f"{len(sets)} StatefulSets instead of one"]
    spec = sets[0]["spec"]
    problems = []
    problems += workload_problems(spec)
    problems += pod_problems(spec, docs)
    problems += service_problems(spec, docs)
    problems += policy_problems(spec, docs)
    names = [(d["kind"], d["metadata"]["name"]) for d in docs]
    problems += [f"two objects named {n}" for n in {n for n in names if names.count(n) > 1}]
    return problems


def selects(selector, labels):
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def workload_problems(spec):
    problems = []
    labels = spec["template"]["metadata"]["labels"]
    selector = spec["selector"]["matchLabels"]
    if not selects(selector, labels):
        problems.append("the StatefulSet does not select its own pods")
    if spec["podManagementPolicy"] != "Parallel":
        problems.append("podManagementPolicy is not Parallel")
    for claim in spec["volumeClaimTemplates"]:
        if claim["metadata"]["labels"] != selector:
            problems.append("claim labels differ from the selector; they can never change later")
    if set(spec["persistentVolumeClaimRetentionPolicy"].values()) != {"Retain"}:
        problems.append("disks would be deleted with the pods")
    return problems


def pod_problems(spec, docs):
    pod = spec["template"]["spec"]
    box = pod["containers"][0]
    problems = []
    ports = {p["name"]: p for p in box["ports"]}
    numbers = [p["containerPort"] for p in box["ports"]]
    if len(set(numbers)) != len(numbers):
        problems.append("a container port is used twice")
    problems += [f"port {n} without protocol" for n, p in ports.items() if p.get("protocol") != TCP]
    paths = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    for probe, path in paths.items():
        get = box[probe]["httpGet"]
        if get["path"] != path or get["port"] != "client":
            problems.append(f"{probe} asks {get}, not {path} on the client port")
    if pod.get("enableServiceLinks") is not False:
        problems.append("service links would set ROOMCAST_* variables")
    if pod.get("automountServiceAccountToken") is not False:
        problems.append("the service account's token is mounted")
    claims = {c["metadata"]["name"] for c in spec["volumeClaimTemplates"]}
    claims |= {v["name"] for v in pod.get("volumes", [])}
    mounts = {m["name"]: m["mountPath"] for m in box["volumeMounts"]}
    problems += [f"mount {m} has no volume" for m in mounts if m not in claims]
    data = box["args"][box["args"].index("--data-dir") + 1]
    if not any(data.startswith(path + "/") for path in mounts.values()):
        problems.append(f"{data} is not below a mounted disk")
    problems += security_problems(pod, box)
    accounts = {d["metadata"]["name"] for d in docs if d["kind"] == "ServiceAccount"}
    if accounts and pod["serviceAccountName"] not in accounts:
        problems.append("the pods name another service account")
    return problems


def security_problems(pod, box):
    context = pod.get("securityContext", {})
    inner = box.get("securityContext", {})
    wanted = [
        (context.get("runAsNonRoot") is True, "runAsNonRoot"),
        (context.get("seccompProfile", {}).get("type") == "RuntimeDefault", "seccompProfile"),
        (inner.get("readOnlyRootFilesystem") is True, "readOnlyRootFilesystem"),
        (inner.get("allowPrivilegeEscalation") is False, "allowPrivilegeEscalation"),
        (inner.get("capabilities", {}).get("drop") == ["ALL"], "capabilities"),
    ]
    return [f"{name} is not what the restricted profile wants" for good, name in wanted if not good]


def service_problems(spec, docs):
    labels = spec["template"]["metadata"]["labels"]
    names = {p["name"] for p in spec["template"]["spec"]["containers"][0]["ports"]}
    services = {d["metadata"]["name"]: d["spec"] for d in docs if d["kind"] == "Service"}
    problems = []
    for name, service in services.items():
        if not selects(service["selector"], labels):
            problems.append(f"service {name} selects no pod")
        for port in service["ports"]:
            if port["targetPort"] not in names:
                problems.append(f"service {name} leads to the missing port {port['targetPort']}")
            if port.get("protocol") != TCP:
                problems.append(f"service {name} has a port without protocol")
    headless = services.get(spec["serviceName"])
    if headless is None:
        return problems + [f"no service {spec['serviceName']} for the pods' names"]
    if headless.get("clusterIP") != "None" or headless.get("publishNotReadyAddresses") is not True:
        problems.append("the peers' service does not show pods that are not ready")
    others = [s for s in services.values() if s.get("clusterIP") != "None"]
    targets = [[p["targetPort"] for p in s["ports"]] for s in others]
    clients = [s for s, ports in zip(others, targets) if "client" in ports]
    if len(clients) != 1 or clients[0].get("sessionAffinity") != "None":
        problems.append("there is not exactly one client service, without affinity")
    if any(ports not in (["client"], ["api"]) for ports in targets):
        problems.append("a service shows several ports, or one that is not its own")
    return problems


def policy_problems(spec, docs):
    labels = spec["template"]["metadata"]["labels"]
    names = {p["name"] for p in spec["template"]["spec"]["containers"][0]["ports"]}
    problems = []
    for doc in docs:
        if doc["kind"] == "PodDisruptionBudget":
            if not selects(doc["spec"]["selector"]["matchLabels"], labels):
                problems.append("the disruption budget selects no pod")
            if doc["spec"]["maxUnavailable"] != (1 if spec["replicas"] > 1 else 0):
                problems.append("the disruption budget lets more go than one voter of several")
        if doc["kind"] == "NetworkPolicy":
            if not selects(doc["spec"]["podSelector"]["matchLabels"], labels):
                problems.append("the network policy selects no pod")
            used = {p["port"] for rule in doc["spec"]["ingress"] for p in rule["ports"]}
            problems += [f"the network policy names the missing port {p}" for p in used - names]
    return problems
