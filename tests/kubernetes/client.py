"""The official Python client against a replica of the operator: a cluster from nothing to nothing.

Arguments: URL, key of the administrator. REQUESTS_CA_BUNDLE names the authority that is trusted.
"""
import sys

import requests
from heketi import HeketiClient

URL, KEY = sys.argv[1:]
client = HeketiClient(URL, "admin", KEY)
assert client.hello()
mine = client.cluster_create({"file": True, "block": True})["id"]
nodes = []
for n in range(3):
    hostnames = {"manage": [f"client-{n}"], "storage": [f"10.97.0.{n}"]}
    node = client.node_add({"cluster": mine, "zone": n + 1, "hostnames": hostnames})
    assert client.device_add({"name": "/dev/sdb", "node": node["id"]})
    nodes.append(node["id"])
assert client.node_set_tags(nodes[0], {"change_type": "update", "tags": {"rack": "7"}})
(device,) = client.node_info(nodes[0])["devices"]
assert client.device_set_tags(device["id"], {"change_type": "set", "tags": {"kind": "slow"}})
assert client.cluster_setflags(mine, {"file": True, "block": False})
volume = client.volume_create({"size": 2, "clusters": [mine], "durability": {"type": "replicate", "replicate": {"replica": 3}}})
assert len(volume["bricks"]) == 3 and client.volume_info(volume["id"]) == volume, volume
assert client.volume_expand(volume["id"], {"expand_size": 1})["size"] == 3
assert volume["id"] in client.volume_list()["volumes"]
assert client.volume_delete(volume["id"])
for node in nodes:
    (device,) = client.node_info(node)["devices"]
    for state in ("offline", "failed"):
        assert client.device_state(device["id"], {"state": state})
    assert client.device_delete(device["id"])
    assert client.node_delete(node)
assert client.cluster_delete(mine)
try:
    HeketiClient(URL, "admin", "wrong").cluster_list()
except requests.exceptions.HTTPError as error:
    assert error.response.status_code == 401, error.response.status_code
else:
    raise AssertionError("a wrong key was taken")
print("a cluster came and went")
