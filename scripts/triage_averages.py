"""Describe the averages of all clusters, and list clusters with matching averages as possible mergers."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryopipe.averaging import AveragingOptions
from cryopipe.averaging.cluster_facts import cluster_facts
from cryopipe.averaging.doubles import count_doubles
from cryopipe.averaging.triage import ALSO_IN_VERDICTS, find_mergers, triage
from cryopipe.averaging.verdicts import describe_clusters, withhold_resolutions
from cryopipe.config import DECODING_LEARNERS
from cryopipe.evidence.assessment import supports_of
from cryopipe.evidence.leakage import LEAKAGE_TEXTS
from cryopipe.evidence.run_leakage import remarks_of_classes
from cryopipe.files.cluster_averages import read_averages, read_maps
from cryopipe.files.records import remove_results
from cryopipe.files.star import read_particles
from cryopipe.files.tables import read_table, write_table
from cryopipe.job import run
from cryopipe.provenance import RECORDS

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(job: Any) -> None:
    options = AveragingOptions(**job.params.averaging)
    clusters = read_averages(job.input.averages, half_maps=True)
    known = read_maps(options.known_maps) if options.known_maps else {}
    names = [f"{number:02d}" for number in clusters]
    decoding = job.config["features"]["learner"] in DECODING_LEARNERS
    for rule in ("locate_particles", "average_cluster"):
        remove_results(Path(RECORDS, rule), names)
    remove_results(Path(RECORDS, "decode_cluster"), names if decoding else [])
    doubles = count_doubles(read_particles(job.input.located))
    facts, tables = cluster_facts(clusters, options.initial_resolution), job.input.evidence
    remarks = remarks_of_classes(read_table(job.input.leakage, LEAKAGE_TEXTS))
    supports = supports_of(facts, read_table(tables[0])) if tables else None
    verdicts = describe_clusters(facts, supports, remarks)
    clusters = withhold_resolutions(clusters, verdicts)
    described = triage(clusters, known, options, doubles)
    write_table(job.output.clusters, verdicts.merge(described[["cluster", *ALSO_IN_VERDICTS]], on="cluster"))
    write_table(job.output.triage, described)
    write_table(job.output.mergers, find_mergers(clusters, options))


run(main, snakemake)
