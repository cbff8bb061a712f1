#!/usr/bin/env bash
# Print a Markdown report of what changed since a revision: .github/report.sh main > report.md
set -euo pipefail
base=${1:?usage: report.sh REVISION}

echo "## Metrics, against $base"
echo
dvc metrics diff --md "$base"
echo
echo "Choose by the metrics of \`metrics/val.json\`; those of \`test\` are for the report."
echo
echo "## Parameters"
echo
dvc params diff --md "$base"
echo
echo "## Figures"
echo
echo "![Confusion matrix, by true class](plots/figures/confusion_shares.png)"
echo "![Receiver operating characteristic, one class against the rest](plots/figures/roc.png)"
