"""The package's signatures, structures and constants are those of include/shoal/.

Names, order and kinds are read from the headers' text; sizes, offsets and values come from a C
program that is compiled against them.

SPDX-License-Identifier: Apache-2.0
"""

import ctypes
import os
import pathlib
import re
import shutil
import struct
import subprocess
import tempfile
import unittest

import shoal
from shoal import _ffi, calls, enums, errors, launch

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ["SHOAL_TEST_BUILD"])
INCLUDES = (ROOT / "include", BUILD / "include")

# C types, without const and spaces, and what ctypes may use for them.
SCALARS = {
    "void": {None},
    "int": {ctypes.c_int},
    "int32_t": {ctypes.c_int32},
    "uint32_t": {ctypes.c_uint32},
    "uint64_t": {ctypes.c_uint64},
    "size_t": {ctypes.c_size_t},
    "double": {ctypes.c_double},
    "void*": {ctypes.c_void_p},
    "void**": {ctypes.POINTER(ctypes.c_void_p)},
    "char*": {ctypes.c_char_p},
    "char**": {ctypes.POINTER(ctypes.c_char_p)},
    "uint32_t*": {ctypes.POINTER(ctypes.c_uint32)},
    "uint8_t*": {ctypes.c_char_p},
    "uint64_t*": {ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint64)},
    "size_t*": {ctypes.POINTER(ctypes.c_size_t)},
    "shoal_reduce_fn": {_ffi.ReduceFunction},
}
OPAQUE = (
    "shoal_context",
    "shoal_comm",
    "shoal_request",
    "shoal_samples",
    "shoal_state",
    "shoal_world",
    "shoal_world_request",
)
STRUCTS = {
    "shoal_context_options": _ffi.ContextOptions,
    "shoal_comm_options": _ffi.CommOptions,
    "shoal_call": _ffi.Call,
    "shoal_op_options": _ffi.OpOptions,
    "shoal_plan_info": _ffi.PlanInfo,
    "shoal_span": _ffi.Span,
    "shoal_layout": _ffi.Layout,
    "shoal_reshard_call": _ffi.ReshardCall,
    "shoal_member": _ffi.Member,
    "shoal_place_options": _ffi.PlaceOptions,
    "shoal_place_result": _ffi.PlaceResult,
    "shoal_samples_options": _ffi.SamplesOptions,
    "shoal_samples_view": _ffi.SamplesView,
    "shoal_samples_share": _ffi.SamplesShare,
    "shoal_samples_info": _ffi.SamplesInfo,
    "shoal_store": _ffi.Store,
    "shoal_world_options": _ffi.WorldOptions,
    "shoal_view": _ffi.WorldView,
    "shoal_op_info": _ffi.OpInfo,
    "shoal_step": _ffi.WorldStep,
    "shoal_state_options": _ffi.StateOptions,
    "shoal_state_array": _ffi.StateArray,
    "shoal_state_divergence": _ffi.StateDivergence,
    "shoal_state_info": _ffi.StateInfo,
    "shoal_state_range": _ffi.StateRange,
    "shoal_state_loss": _ffi.StateLoss,
}


# Fields that are functions, by what stands before and after their names.
CALLBACKS = {
    "enum shoal_status (*)(void *arg, uint32_t timeout_ms, void *value, size_t capacity, "
    "size_t *size)": _ffi.StoreRead,
    "enum shoal_status (*)(void *arg, uint32_t timeout_ms, const void *expected, "
    "size_t expected_size, const void *desired, size_t desired_size, int *done)": _ffi.StoreSwap,
}


def header_text():
    """All public headers without comments and preprocessor lines."""
    files = sorted((ROOT / "include/shoal").glob("*.h")) + [BUILD / "include/shoal/version.h"]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)
    return re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)


TEXT = header_text()


def allowed(c_type):
    """What ctypes may use for a C type as it is written."""
    if c_type in CALLBACKS:
        return {CALLBACKS[c_type]}
    bare = re.sub(r"\bconst\b", " ", c_type)
    bare = re.sub(r"\s*\*\s*", "*", " ".join(bare.split()))
    if bare in SCALARS:
        return SCALARS[bare]
    if bare.startswith("enum "):
        return {ctypes.c_int}
    name = bare.removeprefix("struct ").rstrip("*")
    stars = bare.count("*")
    if name in OPAQUE:
        return {ctypes.c_void_p} if stars == 1 else {ctypes.POINTER(ctypes.c_void_p)}
    pointers = {ctypes.POINTER(STRUCTS[name])}
    # A call's bytes are packed by hand; test_packed_call compares them.
    return pointers | {_ffi.CallImage} if name == "shoal_call" else pointers


def without_name(parameter):
    """The type of `type name`, also where the star touches the name."""
    return re.match(r"(.*?)\s*\w+$", parameter.strip(), re.DOTALL).group(1)


def declared_functions():
    for result, name, parameters in re.findall(
        r"SHOAL_API\s+([\w\s\*]+?)(\bshoal_\w+)\s*\(([^)]*)\)\s*;", TEXT
    ):
        listed = [] if parameters.strip() == "void" else parameters.split(",")
        yield name, result, [without_name(p) for p in listed]


def declared_structs():
    for name, body in re.findall(r"struct\s+(shoal_\w+)\s*\{(.*?)\}\s*;", TEXT, re.DOTALL):
        fields = []
        for line in body.split(";"):
            callback = re.match(r"\s*(.*?)\(\*(\w+)\)(\(.*\))\s*$", line, re.DOTALL)
            if callback:
                result, field, parameters = callback.groups()
                fields.append((field, f"{result}(*){' '.join(parameters.split())}"))
            elif line.strip():
                c_type, field = re.match(r"\s*(.*?)(\w+)\s*$", line, re.DOTALL).groups()
                fields.append((field, c_type))
        yield name, fields


def declared_enums():
    for name, body in re.findall(r"enum\s+(shoal_\w+)\s*\{(.*?)\}\s*;", TEXT, re.DOTALL):
        yield name, re.findall(r"(SHOAL_\w+)\s*=", body)


def compile_and_run(lines):
    """Run a C program of printf lines; returns {first word: rest as integers}."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    source = "#include <shoal/shoal.h>\n#include <stdio.h>\nint main(void)\n{\n"
    source += "".join(f"    {line}\n" for line in lines) + "    return 0;\n}\n"
    with tempfile.TemporaryDirectory() as folder:
        file, program = pathlib.Path(folder, "print.c"), pathlib.Path(folder, "print")
        file.write_text(source, encoding="utf-8")
        includes = [f"-I{path}" for path in INCLUDES]
        subprocess.run([compiler, *includes, str(file), "-o", str(program)], check=True)
        output = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    rows = (line.split() for line in output.splitlines())
    return {row[0]: tuple(int(word) for word in row[1:]) for row in rows}


class FunctionsTest(unittest.TestCase):
    def test_every_function_is_there_and_no_other(self):
        declared = {name for name, _, _ in declared_functions()}
        self.assertGreater(len(declared), 25)
        self.assertEqual(
            TEXT.count("SHOAL_API "), len(declared), "a declaration was not understood"
        )
        self.assertEqual(declared, set(_ffi.FUNCTIONS))

    def test_types_of_results_and_arguments(self):
        for name, result, parameters in declared_functions():
            found_result, found = _ffi.FUNCTIONS[name]
            with self.subTest(name):
                self.assertIn(found_result, allowed(result))
                self.assertEqual(len(found), len(parameters))
                for position, (one, c_type) in enumerate(zip(found, parameters)):
                    self.assertIn(one, allowed(c_type), f"argument {position}: {c_type}")

    def test_the_loaded_library_has_these_types(self):
        for name, (result, arguments) in _ffi.FUNCTIONS.items():
            function = getattr(_ffi.lib, name)
            self.assertEqual((function.restype, list(function.argtypes)), (result, arguments))

    def test_callback(self):
        match = re.search(r"typedef\s+(\w+)\s*\(\*shoal_reduce_fn\)\(([^)]*)\)", TEXT)
        result, parameters = match.groups()
        types = [without_name(p) for p in parameters.split(",")]
        self.assertIn(_ffi.ReduceFunction._restype_, allowed(result))
        self.assertEqual(len(types), len(_ffi.ReduceFunction._argtypes_))
        for one, c_type in zip(_ffi.ReduceFunction._argtypes_, types):
            self.assertIn(one, allowed(c_type))


class StructsTest(unittest.TestCase):
    def test_every_struct_is_there(self):
        self.assertEqual({name for name, _ in declared_structs()}, set(STRUCTS))

    def test_order_and_types_of_fields(self):
        for name, fields in declared_structs():
            with self.subTest(name):
                found = STRUCTS[name]._fields_
                self.assertEqual([field for field, _ in fields], [field for field, _ in found])
                for (field, c_type), (_, one) in zip(fields, found):
                    self.assertIn(one, allowed(c_type), field)

    def test_sizes_and_offsets(self):
        lines, expected = [], {}
        for name, cls in STRUCTS.items():
            numbers = [ctypes.sizeof(cls)]
            terms = [f"sizeof(struct {name})"]
            for field, _ in cls._fields_:
                place = getattr(cls, field)
                numbers += [place.offset, place.size]
                terms.append(f"offsetof(struct {name}, {field})")
                terms.append(f"sizeof(((struct {name} *)0)->{field})")
            formats = " ".join(["%zu"] * len(terms))
            lines.append(f'printf("{name} {formats}\\n", {", ".join(terms)});')
            expected[name] = tuple(numbers)
        self.assertEqual(compile_and_run(lines), expected)

    def test_packed_call(self):
        self.assertEqual(struct.calcsize(_ffi.CALL_FORMAT), ctypes.sizeof(_ffi.Call))
        values = (_ffi.CALL_BYTES, 3, 9, 64, 5, 1 << 40, 1 << 47, (1 << 46) + 8, 0xFFFFFFFE)
        call = _ffi.Call.from_buffer_copy(_ffi.pack_call(*values))
        self.assertEqual(tuple(getattr(call, name) for name, _ in _ffi.Call._fields_), values)


class ConstantsTest(unittest.TestCase):
    def test_enumerations(self):
        names = {name for _, members in declared_enums() for name in members}
        values = compile_and_run(f'printf("{name} %d\\n", {name});' for name in sorted(names))
        values = {name: value[0] for name, value in values.items()}
        python = {f"SHOAL_{dtype.name}": int(dtype) for dtype in shoal.DType}
        python |= {f"SHOAL_{op.name}": int(op) for op in shoal.Op}
        python |= {f"SHOAL_{which.name}": int(which) for which in shoal.Collective}
        python |= {f"SHOAL_BATCH_{mode.name}": int(mode) for mode in enums.BatchMode}
        python |= {f"SHOAL_LAYOUT_{kind.name}": int(kind) for kind in enums.LayoutKind}
        python |= {f"SHOAL_STEP_{mode.name}": int(mode) for mode in enums.StepMode}
        python |= {f"SHOAL_PARTITION_{policy.name}": int(policy) for policy in enums.Partition}
        python |= {f"SHOAL_STATE_{kind.name}": int(kind) for kind in enums.StateKind}
        for status in shoal.Status:
            prefix = "SHOAL_ERR_" if status < 0 else "SHOAL_"
            python[prefix + status.name] = int(status)
        python["SHOAL_DTYPE_COUNT"] = len(shoal.DType)
        python["SHOAL_OP_COUNT"] = len(shoal.Op)
        python["SHOAL_COLLECTIVE_COUNT"] = len(shoal.Collective)
        python["SHOAL_OP_USER_FIRST"] = enums.OP_USER_FIRST
        self.assertEqual(python, values)

    def test_macros(self):
        values = compile_and_run(
            [
                'printf("none %u\\n", SHOAL_COLOR_NONE);',
                'printf("default %u\\n", UINT32_MAX);',
                'printf("place %u %u\\n", SHOAL_PLACE_SHARDS_MAX, SHOAL_PLACE_REPLICAS_MAX);',
                'printf("samples %d %d\\n", SHOAL_SAMPLES_SPANS_MAX, SHOAL_SAMPLES_BYTES_MAX);',
                'printf("version %d %d %d\\n", SHOAL_VERSION_MAJOR, SHOAL_VERSION_MINOR,'
                " SHOAL_VERSION_PATCH);",
            ]
        )
        self.assertEqual(values["none"], (enums.COLOR_NONE,))
        self.assertEqual(values["default"], (calls.DEFAULT_TIMEOUT,))
        self.assertEqual(values["place"], (_ffi.PLACE_SHARDS_MAX, _ffi.PLACE_REPLICAS_MAX))
        self.assertEqual(values["samples"], (_ffi.SAMPLES_SPANS_MAX, _ffi.SAMPLES_BYTES_MAX))
        self.assertEqual(".".join(map(str, values["version"])), shoal.__version__)
        self.assertEqual(shoal.library_version(), shoal.__version__)

    def test_sizes_and_names_of_types(self):
        for dtype in shoal.DType:
            self.assertEqual(_ffi.lib.shoal_dtype_bytes(dtype), dtype.itemsize)
            self.assertEqual(_ffi.lib.shoal_dtype_string(dtype).decode(), str(dtype))
        for op in shoal.Op:
            self.assertEqual(_ffi.lib.shoal_op_string(op).decode(), op.name.lower())

    def test_every_status_has_its_exception(self):
        for status in shoal.Status:
            if status < 0:
                self.assertEqual(errors.error_class(status).status, status)

    def test_an_unknown_status_is_an_error_of_its_group(self):
        groups = {
            -10: shoal.CallError,
            -30: shoal.RequestError,
            -50: shoal.PeerError,
            -70: shoal.EpochError,
            -95: shoal.ProcessError,
            -500: shoal.ProcessError,
        }
        for status, group in groups.items():
            self.assertIs(errors.error_class(status), group)


class LaunchersTest(unittest.TestCase):
    def test_variables_that_tell_of_a_launcher(self):
        """Those that make the C library look at the environment are those that Python looks for."""
        source = (ROOT / "src/elastic/launch_env.c").read_text(encoding="utf-8")
        table = re.search(r"launchers\[\] = \{(.*?)\n\};", source, re.DOTALL).group(1)
        ranks = re.findall(r'\{"[^"]*",\s*"(\w+)"', table)
        self.assertGreaterEqual(len(ranks), 4)
        self.assertEqual({"SHOAL_RANK", "SHOAL_SIZE", *ranks}, set(launch.LAUNCHER_VARIABLES))


if __name__ == "__main__":
    unittest.main()
