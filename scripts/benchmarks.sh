#!/usr/bin/env bash
# Measures the table of docs/benchmarks.md anew, about 50 minutes on two cores with nothing else running:
#   scripts/benchmarks.sh FOLDER [NAME...]
# writes FOLDER/NAME.json for the rows named, by default for all; then
#   python tools/benchmark_table.py FOLDER/*.json
# PYTHON=... names the interpreter. Large networks are not timed eagerly (--skip eager): that is the slowest baseline.
set -u
cd "$(dirname "$0")/.."
folder=${1:?FOLDER for the results}
shift
wanted=" $* "
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python)}
mkdir -p "$folder"
failed=0

row() {
    local name=$1
    shift
    [[ "$wanted" == "  " || "$wanted" == *" $name "* ]] || return 0
    echo "== $name"
    "$python" tools/benchmark.py "$@" --json "$folder/$name.json" || { echo "FAILED: $name" >&2; failed=1; }
}

city="--shape 1024 2048 --block-size 128"
coco="--shape 800 1344 --block-size auto --policy reinforce"
deeplab=configs/blockcopy/deeplabv3plus_r50-d16_cityscapes-1024x2048.py
r18=configs/segblocks/swiftnet_r18_1xb8-350e_cityscapes-1024x2048.py
r50=configs/segblocks/swiftnet_r50_1xb8-350e_cityscapes-1024x2048.py
row deeplabv3plus_r50-d16_1024x2048_fp32 $deeplab $city --active 0.1 0.3 1.0 --policy reinforce --skip eager
row deeplabv3plus_r50-d16_1024x2048_bf16 $deeplab $city --active 0.1 0.3 1.0 --policy reinforce --skip eager --dtype bf16
row mask-rcnn_r50_fpn_800x1344_fp32 mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py $coco --active 0.1 0.3 0.5 1.0
row mask-rcnn_r50_fpn_800x1344_bf16 mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py $coco --active 0.3 --dtype bf16
row retinanet_r50_fpn_800x1344_fp32 mmdet::retinanet/retinanet_r50_fpn_1x_coco.py $coco --active 0.3
row csp_r50_1024x2048_fp32 configs/_base_/models/csp_r50.py $city --active 0.3 --policy reinforce --skip eager
row swiftnet_r18_1024x2048_fp32 $r18 $city --skip fused --active 0.3 --policy reinforce
row swiftnet_r50_1024x2048_fp32 $r50 $city --skip fused --active 0.3 --policy reinforce
row fcn_hr18_1024x2048_fp32 mmseg::hrnet/fcn_hr18_4xb2-40k_cityscapes-512x1024.py $city --active 0.3 --policy reinforce --skip eager
for name in r18 r50; do
    row swiftnet_${name}_1024x2048_all_fp32 ${!name} $city --skip fused eager --active 0.5 1.0 --policy reinforce --no-memory
done
row fcn_hr18_1024x2048_all_fp32 mmseg::hrnet/fcn_hr18_4xb2-40k_cityscapes-512x1024.py $city --skip fused eager --active 0.3 1.0 --policy reinforce --no-memory
row swiftnet_r18_segblocks_1024x2048_fp32 $r18 $city --method segblocks --skip fused --active 0.2 0.4
row swiftnet_r50_segblocks_1024x2048_fp32 $r50 $city --method segblocks --skip fused --active 0.2 0.4
exit $failed
