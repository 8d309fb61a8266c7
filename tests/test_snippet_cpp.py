"""The C++ snippet: its picture against ours with a stand-in for the runtime, all of it where that is installed."""

import ctypes.util
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from snippet_parts import HOSTILE, KINDS, top_labels

from scarlet_zoo.data.image_io import open_image
from scarlet_zoo.deployment.snippets.render import snippet

pytest_plugins = ["snippet_plugin"]

# Answers like the header of ONNX Runtime where the snippet asks, and keeps what it was fed.
STAND_IN = r"""
#pragma once
#include <cstdint>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>
enum { ORT_LOGGING_LEVEL_WARNING, OrtArenaAllocator, OrtMemTypeDefault };
namespace Ort {
struct Env { Env(int, const char*) {} };
struct SessionOptions { void SetIntraOpNumThreads(int) {} };
struct RunOptions { explicit RunOptions(std::nullptr_t) {} };
struct AllocatorWithDefaultOptions {};
struct MemoryInfo { static MemoryInfo CreateCpu(int, int) { return {}; } };
struct Shape { size_t GetElementCount() const { return 10; } };
struct Value {
  std::vector<char> bytes;
  template <class T> static Value CreateTensor(const MemoryInfo&, T* data, size_t n, const int64_t*, size_t) {
    return {{reinterpret_cast<char*>(data), reinterpret_cast<char*>(data + n)}};
  }
  template <class T> const T* GetTensorData() const { return reinterpret_cast<const T*>(bytes.data()); }
  Shape GetTensorTypeAndShapeInfo() const { return {}; }
};
struct ModelMetadata {
  std::unique_ptr<std::string> held;
  struct Text { std::string text; const char* get() const { return text.c_str(); }
                explicit operator bool() const { return true; } };
  Text LookupCustomMetadataMapAllocated(const char*, AllocatorWithDefaultOptions&) const {
    std::ifstream file("labels.json", std::ios::binary);
    return {{std::istreambuf_iterator<char>(file), {}}};
  }
};
struct Session {
  Session(Env&, const char* path, SessionOptions&) { std::ofstream("asked_for", std::ios::binary) << path; }
  ModelMetadata GetModelMetadata() const { return {}; }
  std::vector<Value> Run(RunOptions, const char**, const Value* fed, size_t, const char**, size_t) {
    std::ofstream("fed", std::ios::binary).write(fed->bytes.data(), std::streamsize(fed->bytes.size()));
    std::vector<float> logits;
    for (int i = 0; i < 10; i++) logits.push_back(float(i));
    return {Value::CreateTensor<float>({}, logits.data(), logits.size(), nullptr, 2)};
  }
};
}
"""


def build_cpp(code, folder, *options):
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    (folder / "classify.cpp").write_text(code, encoding="ascii")
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", *options, "classify.cpp", "-o", "classify"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_cpp_snippet_prepares_a_picture_as_we_do(kind, files, pictures, tmp_path):
    artifact = files[kind]
    (tmp_path / "onnxruntime_cxx_api.h").write_text(STAND_IN)
    (tmp_path / "labels.json").write_text(artifact.metadata["labels"])
    build_cpp(snippet(artifact, "cpp"), tmp_path, "-I.", "-Wno-sign-conversion")
    for path in pictures:
        image = open_image(path)
        image.save(tmp_path / "picture.ppm")
        command = ["./classify", "picture.ppm"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
        wanted = artifact.preprocessing(image)
        if kind == "uint8":
            mean, std = (np.array(v)[:, None, None] for v in (artifact.preprocessing.mean, artifact.preprocessing.std))
            fed = np.fromfile(tmp_path / "fed", np.uint8).reshape(*artifact.preprocessing.size, 3).transpose(2, 0, 1)
            fed = (fed / 255 - mean) / std
        else:
            fed = np.fromfile(tmp_path / "fed", np.float32).reshape(wanted.shape)
        assert np.abs(fed - wanted).max() < 1e-5
    assert (tmp_path / "asked_for").read_bytes().decode() == HOSTILE
    shown = [line.partition(" ")[2] for line in done.stdout.decode().splitlines()]
    assert shown == ["???", "@MEAN@", "Käfer \U0001f431", "\\", "`${1}`"]


@pytest.mark.slow
def test_the_cpp_snippet_refuses_what_is_no_ppm(files, tmp_path):
    (tmp_path / "onnxruntime_cxx_api.h").write_text(STAND_IN)
    (tmp_path / "labels.json").write_text("[]")
    build_cpp(snippet(files["bilinear"], "cpp"), tmp_path, "-I.")
    for name, content in {
        "text": b"words",
        "short": b"P6\n3 3\n255\nabc",
        "deep": b"P6\n1 1\n65535\n" + bytes(6),
    }.items():
        (tmp_path / name).write_bytes(content)
        done = subprocess.run(["./classify", name], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: {name}: ")


def header_folder():
    """Where ONNX Runtime's C++ header is: told by ONNXRUNTIME_INCLUDE, or in a usual place."""
    places = [os.environ.get("ONNXRUNTIME_INCLUDE", ""), "/usr/include/onnxruntime", "/usr/local/include/onnxruntime",
              "/usr/local/include", "/usr/include/onnxruntime/core/session"]  # fmt: skip
    return next((place for place in places if place and (Path(place) / "onnxruntime_cxx_api.h").is_file()), None)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bilinear", "uint8"])
def test_the_cpp_snippet_compiles_and_answers_with_onnx_runtime(kind, files, pictures, expected, tmp_path):
    include = header_folder()
    if include is None:
        pytest.skip("ONNX Runtime's C++ header is not installed (ONNXRUNTIME_INCLUDE says where it is)")
    artifact = files[kind]
    if ctypes.util.find_library("onnxruntime") is None:
        build_cpp(snippet(artifact, "cpp"), tmp_path, f"-I{include}", "-fsyntax-only")
        pytest.skip("compiled, not run: ONNX Runtime's library is not installed")
    build_cpp(snippet(artifact, "cpp"), tmp_path, f"-I{include}", "-lonnxruntime")
    shutil.copy(artifact.path, tmp_path)
    open_image(pictures[0]).save(tmp_path / "picture.ppm")
    done = subprocess.run(["./classify", "picture.ppm"], cwd=tmp_path, capture_output=True, text=True, check=True)
    first = [label.split("\n")[0].replace("\n", " ") for label in top_labels(expected[kind][0])]
    assert done.stdout.splitlines()[0].endswith(first[0])
