# cryopipe: from a directory of cryo-electron tomograms to picked, clustered and averaged particles.
# Options: config/config.yaml. Tomograms: config/tomograms.tsv.
from snakemake.utils import min_version

min_version("9.19")

from cryopipe.config import check_or_exit

# before Snakemake reads the files: it discards keys given twice and prints tracebacks
check_or_exit(*(workflow.overwrite_configfiles or ["config/config.yaml"]))


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/demo.smk"
include: "workflow/rules/check.smk"
include: "workflow/rules/pick.smk"
include: "workflow/rules/subtomograms.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/clusters.smk"
include: "workflow/rules/average.smk"
include: "workflow/rules/relations.smk"
include: "workflow/rules/evidence.smk"
include: "workflow/rules/rescan.smk"
include: "workflow/rules/reembed.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/arrivals.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        final_results,
    message:
        "All done."


onsuccess:
    print_summary()
