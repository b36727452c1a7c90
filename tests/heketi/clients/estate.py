"""heketi-cli runs a whole estate: three zones, twelve nodes, 96 devices, 100 volumes of all kinds.

Argument: the path of heketi-cli. HEKETI_CLI_SERVER, HEKETI_CLI_USER and HEKETI_CLI_KEY say where the empty server is.
"""
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

CLI = sys.argv[1]
GIB = 1 << 20  # in KiB


def cli(*words):
    done = subprocess.run([CLI, *map(str, words)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{words}: {done.returncode}: {done.stderr}{done.stdout}"
    return done.stdout


def told(*words):
    return json.loads(cli("--json", *words))


def busy(*words):
    """A command that may find the server busy: the client waits by itself, and gives up after some tries."""
    for _ in range(20):
        done = subprocess.run([CLI, *map(str, words)], capture_output=True, text=True, timeout=300)
        if done.returncode == 0:
            return done.stdout
        assert "Server busy" in done.stderr, f"{words}: {done.stderr}{done.stdout}"
        time.sleep(1)
    raise AssertionError(f"{words}: the server stays busy")


def topology():
    disks = [f"/dev/sd{letter}" for letter in "bcdefghi"]
    nodes = [
        {"node": {"hostnames": {"manage": [f"estate{n}"], "storage": [f"10.20.0.{n}"]}, "zone": 1 + n % 3}, "devices": disks}
        for n in range(1, 13)
    ]
    # The clients of before 2018 knew names only; these are as objects, with tags.
    nodes[0]["devices"] = [{"name": disk, "tags": {"tier": "ssd"}} for disk in disks]
    return {"clusters": [{"nodes": nodes, "block": True, "file": True}]}


def kinds():
    """What is asked for, in turn."""
    return [
        ["--size", 10],
        ["--size", 5, "--replica", 2],
        ["--size", 3, "--durability", "none"],
        ["--size", 12, "--durability", "disperse"],
        ["--size", 6, "--durability", "disperse", "--disperse-data", 2, "--redundancy", 1],
        ["--size", 4, "--snapshot-factor", 1.5],
        ["--size", 4, "--gid", 2001],
        ["--size", 8, "--gluster-volume-options", "user.heketi.arbiter true"],
        ["--size", 7, "--gluster-volume-options", "user.heketi.zone-checking strict,performance.cache-size 256MB"],
        ["--size", 20, "--durability", "none", "--block"],
    ]


def adds_up(volumes):
    """What topology, volumes, devices and dump say of each other."""
    (cluster,) = told("topology", "info")["clusters"]
    assert len(cluster["nodes"]) == 12 and len(cluster["volumes"]) == volumes, len(cluster["volumes"])
    devices = {device["id"]: device for node in cluster["nodes"] for device in node["devices"]}
    on_devices = {brick["id"] for device in devices.values() for brick in device["bricks"]}
    of_volumes = {brick["id"]: volume for volume in cluster["volumes"] for brick in volume["bricks"]}
    assert on_devices == set(of_volumes), on_devices ^ set(of_volumes)
    dump = json.loads(cli("db", "dump"))
    assert set(dump) == {
        "clusterentries", "volumeentries", "brickentries", "nodeentries", "deviceentries", "blockvolumeentries",
        "dbattributeentries", "pendingoperations",
    }, sorted(dump)
    assert set(dump["brickentries"]) == on_devices and len(dump["deviceentries"]) == len(devices)
    assert dump["pendingoperations"] == {}, dump["pendingoperations"]
    for device in devices.values():
        storage = device["storage"]
        assert storage["total"] == storage["free"] + storage["used"], device
        entries = [dump["brickentries"][brick["id"]] for brick in device["bricks"]]
        used = sum(entry["TpSize"] + entry["PoolMetadataSize"] for entry in entries)
        assert storage["used"] == used, (device["id"], storage, used)
    zones = {node["id"]: node["zone"] for node in cluster["nodes"]}
    for volume in cluster["volumes"]:
        bricks = volume["bricks"]
        nodes = Counter(brick["node"] for brick in bricks)
        assert max(nodes.values()) <= 2, volume  # one of each set
        if "user.heketi.zone-checking strict" in volume["glustervolumeoptions"] and len(bricks) == 3:
            assert len({zones[brick["node"]] for brick in bricks}) == 3, volume
    check = json.loads(cli("db", "check"))
    assert check["totalinconsistencies"] == 0 and check["bricks"]["ok"] == len(on_devices), check
    return cluster, devices


with tempfile.TemporaryDirectory() as directory:
    path = os.path.join(directory, "topology.json")
    with open(path, "w") as file:
        json.dump(topology(), file)
    loaded = cli("topology", "load", "--json", path)
assert loaded.count("... OK") == 96 and "Unable" not in loaded, loaded
with ThreadPoolExecutor(6) as pool:
    wishes = [kinds()[n % 10] + ["--name", f"estate-{n}"] for n in range(100)]
    list(pool.map(lambda wish: busy("volume", "create", *wish), wishes))
    cluster, devices = adds_up(100)
    by_name = {volume["name"]: volume for volume in cluster["volumes"]}
    assert by_name["estate-9"]["block"] and by_name["estate-9"]["blockinfo"]["freesize"] == 19
    assert by_name["estate-6"]["gid"] == 2001 and by_name["estate-5"]["snapshot"]["factor"] == 1.5

    grown = [by_name[f"estate-{n}"] for n in range(0, 40, 4)]
    list(pool.map(lambda v: busy("volume", "expand", "--volume", v["id"], "--expand-size", 2), grown))
    for volume in grown:
        info = told("volume", "info", volume["id"])
        assert info["size"] == volume["size"] + 2 and len(info["bricks"]) == 2 * len(volume["bricks"]), info

    node = cluster["nodes"][0]
    cli("node", "settags", node["id"], "rack:7", "row:b")
    cli("node", "rmtags", node["id"], "row")
    assert told("node", "info", node["id"])["tags"] == {"rack": "7"}
    device = node["devices"][0]
    cli("device", "settags", device["id"], "tier:ssd")
    assert "Device " + device["id"] + " is now offline" in cli("device", "disable", device["id"])
    assert "State: offline" in cli("device", "info", device["id"])
    cli("device", "enable", device["id"])
    cli("node", "disable", node["id"])
    cli("node", "enable", node["id"])
    cluster, devices = adds_up(100)

    # A device with many bricks, all of which can move: others have their data whole.
    alone = {b["id"] for v in cluster["volumes"] if v["durability"]["type"] != "replicate" for b in v["bricks"]}
    spared = [d for d in devices.values() if d["bricks"] and not alone & {b["id"] for b in d["bricks"]}]
    device = max(spared, key=lambda d: len(d["bricks"]))
    cli("device", "disable", device["id"])
    cli("device", "remove", device["id"])
    info = told("device", "info", device["id"])
    assert info["state"] == "failed" and info["bricks"] == [] and info["storage"]["used"] == 0, info
    adds_up(100)
    cli("device", "delete", device["id"])
    cluster, devices = adds_up(100)
    assert len(devices) == 95

    half = [volume["id"] for volume in cluster["volumes"]][::2]
    list(pool.map(lambda volume: busy("volume", "delete", volume), half))
    cluster, devices = adds_up(50)
    print(f"estate: {len(device['bricks'])} bricks left a device; {len(devices)} devices, 50 volumes are left")
