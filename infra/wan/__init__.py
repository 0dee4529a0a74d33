"""Distance between regions: each region is a network namespace, and one process carries every packet between them
with the delay, jitter, bandwidth, loss and cuts of its link. No root, no Docker, no kernel module.

`infra.wan.probe` tries whether the machine allows it, `infra.wan.control` sends requests to a running network, and
`python -m infra.wan` is the process itself.
"""
