#!/usr/bin/env bash
# Makes bundled:pebble-s and bundled:pebble-l: texts, tokenizer, pre-training, instructions, folders of the package.
#
#   recipes/pebble/make.sh ../shared/data [texts|s|l|install]      all of it, or one part
#
# Work lies in out-pebble/. Kill it at any moment and run it again: what is whole is not made again, and training goes
# on from its last checkpoint. s and l need only out-pebble/, and may run side by side. The cards say how long it took
# on a GPU, minutes; at the 8,700 and 2,150 tokens a second of two cores the same tokens take 8 and 32 hours. Fewer:
# STEPS_S=800 STEPS_L=1000 BATCH=16 EPOCHS=1.
set -euo pipefail
data=$1
here=$(dirname "$0")
out=out-pebble
pretrain() { # name shape steps rate decay
    [ -e "$out/$1/outcrop.json" ] || outcrop pretrain --from-scratch "$here/$2.toml" --tokenizer $out/tokenizer \
        --data "$out/corpus/train.jsonl.gz" --data "$out/instructions/text.jsonl.gz" \
        --validation "$out/corpus/held-back.jsonl.gz" --map text=text --max-length 512 --epochs 100 \
        --batch-size "${BATCH:-128}" --max-steps "$3" --learning-rate "$4" --weight-decay "$5" \
        --evaluations-per-epoch 2 \
        --early-stopping-patience 100 --checkpoint-minutes 1 --to "$out/$1" $(resumed "$out/$1")
}
instruct() { # name base rate, and more settings
    [ -e "$out/$1/outcrop.json" ] || outcrop tune --base "$out/$2" --data "$out/instructions/chat.jsonl.gz" \
        --data "$out/instructions/plain.jsonl.gz" --data "$out/instructions/general.jsonl.gz" \
        --validation "$out/instructions/validation.jsonl.gz" --epochs "${EPOCHS:-2}" --batch-size 64 \
        --learning-rate "$3" --max-length 1024 --over-long drop --select-by validation_loss \
        --evaluations-per-epoch 4 --early-stopping-patience 100 "${@:4}" --to "$out/$1" $(resumed "$out/$1")
}
resumed() { [ ! -e "$1.partial" ] || echo --resume; }
wanted() { [ "${2:-all}" = "$1" ] || [ "${2:-all}" = all ]; }

if wanted texts "${2:-}"; then
    [ -e $out/corpus/counts.json ] || python "$here/corpus.py" "$data/corpora/general" $out/corpus
    [ -e $out/instructions/counts.json ] ||
        python "$here/instructions.py" "$data/instructions" $out/corpus $out/instructions
    [ -e $out/tokenizer/tokenizer.json ] || python "$here/tokenizer.py" "$here/small.toml" $out/tokenizer \
        $out/corpus/train.jsonl.gz $out/instructions/text.jsonl.gz
fi
if wanted s "${2:-}"; then
    pretrain small small "${STEPS_S:-4000}" 1e-2 0.1
    instruct small-instruct small 1e-3
fi
if wanted l "${2:-}"; then
    pretrain large large "${STEPS_L:-3800}" 7e-3 0.4
    instruct large-instruct large 5e-4 --dropout 0.1 --data $out/instructions/shots.jsonl.gz \
        --data $out/instructions/more-general.jsonl.gz
fi
if wanted install "${2:-}"; then
    python "$here/install.py" $out small small-instruct pebble-s
    python "$here/install.py" $out large large-instruct pebble-l --base-share 0.3
fi
