"""What runtimes' benchmark programs print, as people have published it, and programs that print the same for a test.

The outputs of benchmark_model are of TensorFlow Lite on a TI AM62x and on an Android phone, from the documentation of
TI's processor SDK and from a project's log; those of executor_runner from guides of ExecuTorch. Names are shortened.
"""

BENCHMARK_MODEL = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Num threads: [4]
INFO: Graph: [ssd_mobilenet_v2_coco.tflite]
INFO: Signature to run: []
INFO: #threads used for CPU inference: [4]
INFO: Use xnnpack: [1]
INFO: Loaded model ssd_mobilenet_v2_coco.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: XNNPACK delegate created.
INFO: Explicitly applied XNNPACK delegate, and the model graph will be partially executed by the delegate w/ 1 delegate kernels.
INFO: The input model file size (MB): 67.3128
INFO: Initialized session in 592.232ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=1 curr=633430

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=50 first=605745 curr=618849 min=568228 max=722188 avg=602943 std=27690

INFO: Inference timings in us: Init: 592232, First inference: 633430, Warmup (avg): 633430, Inference (avg): 602943
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual memory footprint of the model at runtime. Take the information at your discretion.
"""  # noqa: E501

# A later build: percentiles, and how many nodes the delegate took.
LATER_BENCHMARK_MODEL = """\
I tflite  : Loaded model best_int8.tflite
I tflite  : Initialized TensorFlow Lite runtime.
I tflite  : Created TensorFlow Lite XNNPACK delegate for CPU.
I tflite  : Replacing 539 out of 548 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 19 partitions for subgraph 0.
I tflite  : Explicitly applied XNNPACK delegate, and the model graph will be partially executed by the delegate w/ 19 delegate kernels.
I tflite  : The input model file size (MB): 3.06409
I tflite  : Initialized session in 92.318ms.
I tflite  : Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
I tflite  : count=3 first=235158 curr=200386 min=199462 max=235158 avg=211669 std=16613 p5=199462 median=200386 p95=235158
I tflite  : Running benchmark for at least 25 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
I tflite  : count=25 first=187533 curr=140990 min=140071 max=195121 avg=145528 std=13583 p5=140545 median=141253 p95=187533
I tflite  : Inference timings in us: Init: 92318, First inference: 235158, Warmup (avg): 211669, Inference (avg): 145528
"""  # noqa: E501

EXECUTOR_RUNNER = """\
I 00:00:00.003987 executorch:executor_runner.cpp:166] Model file add.pte is loaded.
I 00:00:00.004058 executorch:executor_runner.cpp:175] Using method forward
I 00:00:00.004429 executorch:executor_runner.cpp:226] Setting up planned buffer 0, size 48.
I 00:00:00.005262 executorch:executor_runner.cpp:251] Method loaded.
I 00:00:00.006576 executorch:executor_runner.cpp:284] Model executed successfully 1 time(s) in 0.691078 ms.
I 00:00:00.006604 executorch:executor_runner.cpp:293] 1 outputs:
Output 0: tensor(sizes=[1], [2.])
"""

EARLY_EXECUTOR_RUNNER = """\
I 00:00:00.000526 executorch:executor_runner.cpp:82] Model file add.pte is loaded.
I 00:00:00.000595 executorch:executor_runner.cpp:91] Using method forward
I 00:00:00.000612 executorch:executor_runner.cpp:138] Setting up planned buffer 0, size 48.
I 00:00:00.000669 executorch:executor_runner.cpp:161] Method loaded.
I 00:00:00.000685 executorch:executor_runner.cpp:171] Inputs prepared.
I 00:00:00.000764 executorch:executor_runner.cpp:180] Model executed successfully.
I 00:00:00.000770 executorch:executor_runner.cpp:184] 1 outputs:
Output 0: tensor(sizes=[1], [2.])
"""

PERF_TEST = """#!/bin/sh
for word in "$@"; do test "$before" = -r && runs=$word; before=$word; done
echo "Session creation time cost: 0.0125 s"
echo "First inference time cost: 7 ms"
i=0
while [ $i -lt $runs ]; do i=$((i+1)); echo "iteration:$i,time_cost:0.00$((400 + i % 3))"; done
"""


def benchmark_model():
    """A shell script that prints what benchmark_model printed, for as many runs as it is asked for."""
    said = BENCHMARK_MODEL.replace("least 50", "least $runs").replace("count=50", "count=$runs")
    return f"#!/bin/sh\n{_given('num_runs', 'graph')}cat <<END\n{said}END\n"


def _given(runs, file):
    """Lines that read two options of a program, and end it where its file is not there."""
    return (f'for word in "$@"; do case $word in --{runs}=*) runs=${{word#*=}};; '
            f'--{file}=*) test -f "${{word#*=}}" || exit 3;; esac; done\n')  # fmt: skip


def executor_runner():
    """A shell script that prints what executor_runner printed, with 0.25 ms for each execution after the first."""
    said = EXECUTOR_RUNNER.replace(" 1 time(s) in 0.691078 ms", " $runs time(s) in $ms ms")
    sum_up = 'ms=$(awk "BEGIN { print 0.691078 + 0.25 * ($runs - 1) }")'
    return f"#!/bin/sh\n{_given('num_executions', 'model_path')}{sum_up}\ncat >&2 <<END\n{said}END\n"
