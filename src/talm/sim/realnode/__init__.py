"""A node of the real kind on this machine: kubelet, containerd and runc, beside a real control plane.

For what the simulated node (`sim/node`) leaves out: mounts, cgroups, image stores and their garbage
collection.  Needs root; `node.py` is the way in.
"""
