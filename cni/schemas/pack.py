#!/usr/bin/env python3
"""Packs the OpenAPI schemas of CustomResourceDefinitions into schemas.json, which shoal-cni embeds.

Usage: pack.py CRD_DIRECTORY > schemas.json

Only what a check needs is kept (no descriptions or defaults), and equal subtrees are
stored once: {"kinds": [{group, version, kind, schema}], "shared": [schema...]}, where {"ref": N}
stands for shared[N]. Pod, Job and the other core kinds are taken from CRDs that embed them.

SPDX-License-Identifier: Apache-2.0
"""

import json
import pathlib
import sys

import yaml

NUMBERS = ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems")
METADATA = {"type": "object"}
TEXTS = {"type": "object", "values": {"type": "string"}}


def fields(properties, *required):
    """A closed object; apiVersion, kind and metadata are every document's."""
    base = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": METADATA}
    schema = {"type": "object", "properties": {**base, **properties}}
    return {**schema, "required": list(required)} if required else schema


def slim(schema):
    """One OpenAPI node in the vocabulary that schema.c reads."""
    out = {}
    if schema.get("x-kubernetes-int-or-string"):
        out["type"] = "int-or-string"
    elif "type" in schema:
        out["type"] = schema["type"]
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        out["open"] = True
    for key in (*NUMBERS, "enum", "required"):
        if key in schema:
            out[key] = schema[key]
    rules = [[rule["rule"], rule.get("message", "")]
             for rule in schema.get("x-kubernetes-validations", [])
             if "oldSelf" not in rule["rule"]] # which are about updates
    if rules:
        out["rules"] = rules
    if "pattern" in schema: # what POSIX extended expressions lack
        out["pattern"] = schema["pattern"].replace(r"\d", "[0-9]")
    if "properties" in schema:
        out["properties"] = {k: slim(v) for k, v in schema["properties"].items()}
    if "items" in schema:
        out["items"] = slim(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        out["values"] = slim(schema["additionalProperties"])
    return out


def at(schema, path):
    for step in path.split("/"):
        schema = schema["items"] if step == "*" else (
            schema["values"] if step == "@" else schema["properties"][step])
    return schema


def core_kinds(found):
    """(group, version, kind, schema) of core kinds, from the CRDs that embed them."""
    pod = at(found["PyTorchJob"], "spec/pytorchReplicaSpecs/@/template")
    spec = pod["properties"]["spec"]
    job = at(found["JobSet"], "spec/replicatedJobs/*/template/spec")
    open_map = {"type": "object", "open": True}
    yield "", "v1", "Pod", fields({"spec": spec, "status": open_map}, "spec")
    yield "batch", "v1", "Job", fields({"spec": job, "status": open_map}, "spec")
    number, flag = {"type": "integer"}, {"type": "boolean"}
    for kind, more in (
        ("Deployment", {"strategy": open_map, "progressDeadlineSeconds": number, "paused": flag}),
        ("ReplicaSet", {}),
        ("DaemonSet", {"updateStrategy": open_map}),
        ("StatefulSet", {"updateStrategy": open_map, "serviceName": {"type": "string"},
                         "podManagementPolicy": {"type": "string"}, "ordinals": open_map,
                         "volumeClaimTemplates": {"type": "array", "items": open_map},
                         "persistentVolumeClaimRetentionPolicy": open_map}),
    ):
        body = {"replicas": number, "selector": open_map, "template": pod,
                "minReadySeconds": number, "revisionHistoryLimit": number, **more}
        if kind == "DaemonSet":
            del body["replicas"]
        spec_schema = {"type": "object", "properties": body, "required": ["selector", "template"]}
        yield "apps", "v1", kind, fields({"spec": spec_schema, "status": open_map}, "spec")
    yield "", "v1", "ConfigMap", fields({"data": TEXTS, "binaryData": TEXTS, "immutable": flag})


def closed(required=(), **properties):
    schema = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def words(*values):
    return {"type": "string", "enum": list(values)}


def numbers(low, high):
    return {"type": "integer", "minimum": low, "maximum": high}


def intent():
    """Our own kind: what pods are meant to get. docs/cni.md explains each field."""
    text = {"type": "string"}
    texts = {"type": "array", "maxItems": 64, "items": {"type": "string", "maxLength": 63}}
    name = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
    size = {"type": "string", "pattern": "^(inherit|[1-9][0-9]*([KMGT]i?)?)$"}
    vendor = {"type": "string", "pattern": "^(any|mellanox|intel|broadcom|[0-9a-f]{4})$"}
    select = closed(vendor=vendor,
                    linkSpeedMin={"type": "string", "pattern": "^[1-9][0-9]{0,4}G$"}, pfNames=texts)
    affinity = closed(max=words("PIX", "PXB", "PHB", "NODE", "SYS"),
                      policy=words("require", "prefer"))
    rails = closed(count=numbers(1, 32), select=select, gpuAffinity=affinity, naming={
        "type": "string", "pattern": "^[a-z][a-z0-9-]*[{]n[}]$", "maxLength": 15})
    return fields({"spec": closed(
        fabric=words("roce", "infiniband", "auto"),
        isolation=words("shared", "exclusive", "auto"),
        stack=words("auto", "sriov", "ib-sriov", "host-device", "macvlan", "ipvlan", "ipoib",
                    "dranet"),
        rails=rails,
        vf=closed(perPod=numbers(1, 8), total=numbers(1, 128), trust=words("on", "off"),
                  spoofChk=words("on", "off")),
        operator=closed(namespace=name, resourcePrefix={
            "type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "maxLength": 63},
            nodeSelector=TEXTS, networks=words("attachments", "operator"),
            release={"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
                     "maxLength": 128}),
        ipam=closed(type=words("whereabouts", "nv-ipam", "host-local"), cidr=text,
                    perRailPrefix=numbers(8, 126), perNodeBlockSize=numbers(1, 65536)),
        mtu=numbers(1280, 65520),
        qos=closed(["priority"], trust=words("dscp", "pcp"), dscp=numbers(0, 63),
                   priority=numbers(0, 7), ecn={"type": "boolean"}, cnpDscp=numbers(0, 63), pfc={
                       "type": "array", "maxItems": 8, "items": numbers(0, 7)}),
        pod=closed(memlock=words("unlimited", "inherit"), shm=size,
                   runAsUser=numbers(0, 2147483647),
                   gpuDirect=words("require", "prefer", "off")),
        fallback=words("deny", "warn", "allow"),
        workload=closed(kind=words("MPIJob", "PyTorchJob", "TFJob", "TrainJob", "JobSet", "Job",
                                   "Pod"), containers=texts, replicas=texts),
    )})


def claims():
    """Kinds of resource.k8s.io/v1, which are part of Kubernetes; written by hand."""
    text, flag, count = {"type": "string"}, {"type": "boolean"}, {"type": "integer", "minimum": 1}
    texts = {"type": "array", "maxItems": 32, "items": text}
    open_map, number = {"type": "object", "open": True}, {"type": "integer"}
    selectors = {"type": "array", "maxItems": 32, "items": closed(["cel"], cel=closed(
        ["expression"], expression={"type": "string", "maxLength": 10240}))}
    tolerations = {"type": "array", "maxItems": 16, "items": closed(
        key=text, operator=words("Exists", "Equal"), value=text, tolerationSeconds=number,
        effect=words("NoSchedule", "NoExecute"))}
    request = {"deviceClassName": text, "selectors": selectors, "count": count,
               "allocationMode": words("ExactCount", "All"), "tolerations": tolerations,
               "capacity": open_map}
    alternative = closed(["name", "deviceClassName"], name=text, **request)
    requests = {"type": "array", "maxItems": 32, "items": closed(
        ["name"], name=text, exactly=closed(["deviceClassName"], adminAccess=flag, **request),
        firstAvailable={"type": "array", "maxItems": 8, "items": alternative})}
    opaque = closed(["driver", "parameters"], driver=text, parameters=open_map)
    constraint = closed(requests=texts, matchAttribute=text, distinctAttribute=text)
    config = closed(requests=texts, opaque=opaque)
    devices = closed(requests=requests,
                     constraints={"type": "array", "maxItems": 32, "items": constraint},
                     config={"type": "array", "maxItems": 32, "items": config})
    claim = closed(devices=devices)
    template = closed(["spec"], metadata=METADATA, spec=claim)
    device_class = closed(selectors=selectors, extendedResourceName=text, config={
        "type": "array", "maxItems": 32, "items": closed(opaque=opaque)})
    for kind, spec in (("DeviceClass", device_class), ("ResourceClaim", claim),
                       ("ResourceClaimTemplate", template)):
        status = {"status": open_map} if kind == "ResourceClaim" else {}
        yield "resource.k8s.io", "v1", kind, fields({"spec": spec, **status}, "spec")


class Shared:
    """Equal subtrees, by number."""

    def __init__(self):
        self.nodes, self.count, self.number = {}, {}, {}

    def add(self, schema):
        text = json.dumps(schema, sort_keys=True)
        self.count[text] = self.count.get(text, 0) + 1
        if self.count[text] == 1:
            for child in self.children(schema):
                self.add(child)

    @staticmethod
    def children(schema):
        yield from schema.get("properties", {}).values()
        for key in ("items", "values"):
            if key in schema:
                yield schema[key]

    def put(self, schema):
        """The schema with what occurs elsewhere replaced by a reference."""
        text = json.dumps(schema, sort_keys=True)
        if text in self.number:
            return {"ref": self.number[text]}
        out = dict(schema)
        if "properties" in out:
            out["properties"] = {k: self.put(v) for k, v in out["properties"].items()}
        for key in ("items", "values"):
            if key in out:
                out[key] = self.put(out[key])
        if self.count[text] > 1 and len(text) > 60:
            self.number[text] = len(self.nodes)
            self.nodes[self.number[text]] = out
            return {"ref": self.number[text]}
        return out


def load(directory):
    kinds, found = [], {}
    for path in sorted(pathlib.Path(directory).glob("*.yaml")):
        spec = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)["spec"]
        for version in spec["versions"]:
            schema = slim(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = METADATA
            for name in ("apiVersion", "kind"):
                schema["properties"].setdefault(name, {"type": "string"})
            kinds.append((spec["group"], version["name"], spec["names"]["kind"], schema))
            found[spec["names"]["kind"]] = schema
    kinds.append(("shoal.dev", "v1alpha1", "RdmaIntent", intent()))
    return kinds + list(claims()) + list(core_kinds(found))


def main():
    kinds, shared = load(sys.argv[1]), Shared()
    for *_, schema in kinds:
        shared.add(schema)
    rows = [{"group": g, "version": v, "kind": k, "schema": shared.put(s)} for g, v, k, s in kinds]
    lines = [",\n".join(json.dumps(row, separators=(",", ":")) for row in part)
             for part in (rows, shared.nodes.values())]
    print('{"kinds": [\n' + lines[0] + '\n], "shared": [\n' + lines[1] + "\n]}")


if __name__ == "__main__":
    main()
