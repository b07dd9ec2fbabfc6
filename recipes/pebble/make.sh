#!/usr/bin/env bash
# Makes bundled:pebble-s and bundled:pebble-l: texts, pre-training, instructions, and the folders of the package.
#
#   recipes/pebble/make.sh ../shared/data [s|l]       with OUTCROP_THREADS processors
#
# Work lies in out-pebble/. Kill it at any moment and run it again: what is whole is not made again, and training goes
# on from its last checkpoint. The cards say how long it took on one core. With more time, and on a GPU, raise the
# numbers of steps (STEPS=3300 is one pass over the texts) and take more threads (OUTCROP_THREADS).
set -euo pipefail
data=$1
here=$(dirname "$0")
out=out-pebble
pretrain() { # name shape steps rate
    [ -e "$out/$1/outcrop.json" ] || outcrop pretrain --from-scratch "$here/$2.toml" --data "$out/corpus/train.jsonl.gz" \
        --data "$out/instructions/text.jsonl.gz" --validation "$out/corpus/held-back.jsonl.gz" --map text=text \
        --max-length 512 --batch-size 16 --max-steps "${STEPS:-$3}" --learning-rate "$4" \
        --evaluations-per-epoch 40 --early-stopping-patience 100 --to "$out/$1" $(resumed "$out/$1")
}
instruct() { # name base rate
    [ -e "$out/$1/outcrop.json" ] || outcrop tune --base "$out/$2" --data "$out/instructions/chat.jsonl.gz" \
        --data "$out/instructions/plain.jsonl.gz" --data "$out/instructions/general.jsonl.gz" \
        --validation "$out/instructions/validation.jsonl.gz" --epochs 1 --batch-size 64 --learning-rate "$3" \
        --max-length 1024 --over-long drop --select-by validation_loss --evaluations-per-epoch 12 \
        --early-stopping-patience 100 --to "$out/$1" $(resumed "$out/$1")
}
resumed() { [ ! -e "$1.partial" ] || echo --resume; }

[ -e $out/corpus/counts.json ] || python "$here/corpus.py" "$data/corpora/general" $out/corpus
[ -e $out/instructions/counts.json ] || python "$here/instructions.py" "$data/instructions" $out/corpus $out/instructions
case ${2:-both} in s | both)
    pretrain small small 800 1e-2
    instruct small-instruct small 1e-3
    python "$here/install.py" $out small small-instruct pebble-s ;;
esac
case ${2:-both} in l | both)
    pretrain large large 1000 7e-3
    instruct large-instruct large 5e-4
    python "$here/install.py" $out large large-instruct pebble-l ;;
esac
