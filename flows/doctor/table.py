"""All checks, in the order of their lines; a new one is a file in `checks/` and a line here."""

from flows.doctor.check import Check
from flows.doctor.checks import (
    clock,
    cluster,
    extras,
    folders,
    jobs,
    limits,
    machine,
    mlflow_server,
    network,
    packages,
    ports,
    prefect_server,
    python,
    root,
    source,
    temporary,
    torch_build,
)

CHECKS: tuple[Check, ...] = (
    Check(name="python", about="Is this Python new enough, and the package installed?", run=python.check),
    Check(name="packages", about="Are all packages there, in versions that fit?", run=packages.check),
    Check(name="extras", about="Which optional parts are missing?", run=extras.check),
    Check(name="torch", about="Does torch load, and see this machine's GPUs?", run=torch_build.check, limit_s=30),
    Check(name="machine", about="How many cores, and how much memory?", run=machine.check),
    Check(name="limits", about="May processes open enough files?", run=limits.check),
    Check(name="temporary", about="Can Ray work in the temporary folder and in /dev/shm?", run=temporary.check),
    Check(name="folders", about="Can our own state be kept?", run=folders.check),
    Check(name="network", about="Does this machine reach itself?", run=network.check),
    Check(name="ports", about="Are the ports of our own servers free?", run=ports.check),
    Check(name="root", about="Does the store of all outputs take and return objects?", run=root.check, limit_s=30),
    Check(name="source", about="Can the images on S3 be read?", run=source.check, limit_s=20),
    Check(name="clock", about="Does our clock agree with the bucket's?", run=clock.check, limit_s=20),
    Check(
        name="prefect", about="Does the Prefect server answer, and take the key?", run=prefect_server.check, limit_s=30
    ),
    Check(name="mlflow", about="Does the MLflow server answer, and take runs?", run=mlflow_server.check, limit_s=40),
    Check(name="jobs", about="Does the jobs server of the cluster answer, and take our token?", run=jobs.check),
    Check(name="cluster", about="Are all nodes alike, and do they see the root?", run=cluster.check, limit_s=50),
)
