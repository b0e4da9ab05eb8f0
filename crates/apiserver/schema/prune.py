#!/usr/bin/env python3
"""Cuts the Kubernetes schema down to what the embedded API serves: `prune.py SCHEMA-DIR HELD.json`.

SCHEMA-DIR holds openapi.json, protobuf.json, tables.json and discovery.json as read off a kube-apiserver, HELD.json is what held.go prints.
Writes the same five files beside this script, with only the types that a served kind reaches. A kind is added by adding a line to KINDS.
"""
import json, os, sys

KINDS = {
    'v1': 'Namespace Node Pod Service Endpoints ConfigMap Secret ServiceAccount Event Binding PersistentVolumeClaim ResourceQuota LimitRange '
          'DeleteOptions Status',
    'apps/v1': 'Deployment ReplicaSet',
    'autoscaling/v1': 'Scale',
    'discovery.k8s.io/v1': 'EndpointSlice',
    'networking.k8s.io/v1': 'Ingress IngressClass ServiceCIDR IPAddress',
    'coordination.k8s.io/v1': 'Lease',
    'events.k8s.io/v1': 'Event',
    'authentication.k8s.io/v1': 'SelfSubjectReview TokenRequest TokenReview',
    'authorization.k8s.io/v1': 'SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview LocalSubjectAccessReview',
    'policy/v1': 'Eviction',
}
PREFIX = '#/components/schemas/'


def gvks(schema):
    return ['/'.join(p for p in (g['group'], g['version']) if p) + '/' + g['kind'] for g in schema.get('x-kubernetes-group-version-kind', [])]


def references(node, found):
    if isinstance(node, dict):
        if isinstance(node.get('$ref'), str):
            found.add(node['$ref'].removeprefix(PREFIX))
        for value in node.values():
            references(value, found)
    elif isinstance(node, list):
        for value in node:
            references(value, found)


def main():
    source, held = sys.argv[1], json.load(open(sys.argv[2]))
    load = lambda name: json.load(open(os.path.join(source, name)))
    openapi, protobuf, tables = load('openapi.json'), load('protobuf.json'), load('tables.json')
    wanted = {f'{version}/{kind}' for version, kinds in KINDS.items() for kind in kinds.split()}
    wanted |= {kind + 'List' for kind in wanted}
    schemas = openapi['schemas']
    keep, queue = set(), [name for name, schema in schemas.items() if wanted & set(gvks(schema))]
    while queue:
        name = queue.pop()
        if name not in keep and name in schemas:
            keep.add(name)
            found = set()
            references(schemas[name], found)
            queue.extend(found)
    # Options and Status carry the names of every group: only the first of them is ours.
    for name in keep:
        kinds = schemas[name].get('x-kubernetes-group-version-kind')
        if kinds and len(kinds) > 1:
            schemas[name]['x-kubernetes-group-version-kind'] = [k for k in kinds if not k['group']]
    groups = {path: sorted(keep & set(names)) for path, names in openapi['groups'].items()}
    served = {'api/v1' if '/' not in version else 'apis/' + version for version in KINDS}
    write('openapi.json', {'groups': {p: n for p, n in groups.items() if p in served}, 'schemas': {n: schemas[n] for n in sorted(keep)}})
    # A message inlined in another has no schema of its own.
    messages, queue = {}, [name.removeprefix('io.k8s.') for name in keep]
    while queue:
        name = queue.pop()
        if name in protobuf['messages'] and name not in messages:
            messages[name] = protobuf['messages'][name]
            queue.extend(kind for field, (_, kind) in messages[name].items() if field.startswith('+'))
    write('protobuf.json', dict(sorted(messages.items())))
    write('held.json', {n: held[n] for n in sorted(keep) if n in held})
    kinds = {tuple(k.rpartition('/')[0::2]) for k in wanted}
    served_resource = lambda r: ('/'.join(p for p in (r['group'], r['version']) if p), r['responseKind']['kind']) in kinds
    resources = [r for r in load('discovery.json') if served_resource(r)]
    write('discovery.json', resources)
    collections = {('api/' if not r['group'] else 'apis/' + r['group'] + '/') + r['version'] + '/' + r['resource'] for r in resources}
    write('tables.json', {path: t for path, t in tables.items() if path in collections})


def write(name, data):
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), name), 'w') as f:
        json.dump(data, f, separators=(',', ':'))
        f.write('\n')


main()
