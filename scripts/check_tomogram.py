"""Check one tomogram; if it cannot be used, report the reason in one line."""

import logging
from typing import TYPE_CHECKING, Any

from cryopipe.check import check_options, check_tomogram, checks_table
from cryopipe.errors import ConfigError, DataError
from cryopipe.files.tables import write_table
from cryopipe.job import run
from cryopipe.tomograms import Tomogram

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    tomogram = Tomogram(**job.params.tomogram)
    check = check_tomogram(tomogram, job.params.twins, job.params.siblings)
    for finding in check.findings:
        logging.warning("%s: %s: %s", tomogram.name, finding.status, finding)
    if check.header is not None and check.voxel_size is not None:
        for finding in check_options(job.config, check.header.shape_zyx, check.voxel_size):
            logging.warning("%s: %s: %s", tomogram.name, finding.status, finding)
            if finding.status == "bad":
                raise ConfigError(f"tomogram {tomogram.name}: {finding}")
    # not a parameter of the rule, so that a change does not repeat all checks
    if check.bad and job.config["bad_tomograms"] == "stop":
        raise DataError(f"tomogram {tomogram.name}: {check.bad}", file=tomogram.path)
    write_table(job.output[0], checks_table([check]))


run(main, snakemake)
