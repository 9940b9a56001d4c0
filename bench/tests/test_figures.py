"""What bench/run makes of raw figures. `python3 -m unittest discover -s bench/tests`; needs neither danlu nor PyTorch."""

import contextlib
import io
import json
import os
import sys
import unittest
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
sys.dont_write_bytecode = True

from compare import figures, main, sides  # noqa: E402

ABOUT = {"version": "1", "threads": 2, "cpu": "c"}


def run_of(mode, seconds, memory, **other):
    run = {"mode": mode, "model": "S", "precision": "f32", "parameters": 10, "tokens_per_step": 100}
    return {**ABOUT, **run, "step_seconds": seconds, "first_loss": 9.0, "last_loss": 8.0, "peak_rss_bytes": memory, **other}


def danlu(seconds, memory, **other):
    return run_of(None, seconds, memory, flops_per_token=1e9, peak_gflops=400.0, **other)


class Training(unittest.TestCase):
    def test_medians_go_over_all_steps_and_the_fastest_mode_is_the_peer(self):
        ours = [danlu([0.5, 0.5, 9.0], 100), danlu([0.5, 0.4], 120)]
        theirs = {
            "eager": [run_of("eager", [1.0, 1.0, 50.0], 1000)],
            "compile": [run_of("compile", [0.8, 0.8, 0.8], 240)],
        }
        joined = figures.training(ours, theirs)
        self.assertEqual(joined["danlu_tokens_per_second"], 200.0)
        self.assertEqual(joined["peer_tokens_per_second"], 125.0)
        self.assertEqual(joined["peer_mode"], "compile")
        self.assertEqual(joined["ratio"], 1.6)
        self.assertEqual(joined["memory_ratio"], 0.5)
        self.assertEqual(joined["fraction_of_peak"], 0.5)  # 200 tokens/s of 1 GFLOP each, of 400 GFLOP/s
        self.assertEqual(joined["modes"]["danlu"]["steps"], 5)
        self.assertEqual(joined["modes"]["eager"]["tokens_per_second"], 100.0)

    def test_different_work_is_refused(self):
        for other in ({"parameters": 11}, {"tokens_per_step": 99}, {"threads": 1}, {"first_loss": 9.4}, {"first_loss": float("nan")}):
            with self.assertRaises(figures.Unfair, msg=other):
                figures.training([danlu([1.0], 1)], {"eager": [run_of("eager", [1.0], 1, **other)]})
        figures.training([danlu([1.0], 1)], {"eager": [run_of("eager", [1.0], 1, first_loss=9.1)]})

    def test_a_mode_that_computes_something_else_does_not_count(self):
        modes = {"eager": [run_of("eager", [1.0], 1)], "compile": [run_of("compile", [0.1], 1, first_loss=8.4)]}
        joined = figures.training([danlu([1.0], 1)], modes)
        self.assertEqual((joined["peer_mode"], list(joined["modes"])), ("eager", ["danlu", "eager"]))
        self.assertIn("8.4", joined["refused"]["compile"])

    def test_a_system_that_tells_no_memory_gives_no_ratio_of_it(self):
        joined = figures.training([danlu([1.0], None)], {"eager": [run_of("eager", [1.0], 5)]})
        self.assertIsNone(joined["memory_ratio"])


class Cases(unittest.TestCase):
    def run_of(self, rates, memory=10):
        return {**ABOUT, "peak_rss_bytes": memory, "cases": [{"shape": [n, 1], "gflops": rate} for n, rate in rates.items()]}

    def test_each_case_meets_its_best_mode_and_ratios_are_averaged_geometrically(self):
        ours = [self.run_of({1: 8.0, 2: 9.0}, 5), self.run_of({1: 8.0, 2: 11.0}), self.run_of({1: 2.0, 2: 10.0})]
        theirs = {"eager": [self.run_of({1: 4.0, 2: 1.0})], "compile": [self.run_of({1: 1.0, 2: 20.0}, 20)]}
        joined = figures.cases("gemm", "gflops", ("shape",), ours, theirs)
        self.assertEqual([case["ratio"] for case in joined["cases"]], [2.0, 0.5])
        self.assertEqual([case["peer_mode"] for case in joined["cases"]], ["eager", "compile"])
        self.assertAlmostEqual(joined["ratio"], 1.0)
        self.assertEqual(joined["memory_ratio"], 1.0)

    def test_cases_of_danlu_alone_do_not_count(self):
        joined = figures.cases("decode", "gflops", ("shape",), [self.run_of({1: 4.0, 3: 100.0})], {"eager": [self.run_of({1: 2.0})]})
        self.assertEqual(joined["ratio"], 2.0)
        self.assertEqual(joined["danlu_alone"], [{"shape": (3, 1), "danlu_gflops": 100.0}])
        with self.assertRaises(figures.Unfair):
            figures.cases("gemm", "gflops", ("shape",), [self.run_of({1: 1.0})], {"eager": [self.run_of({2: 1.0})]})

    def test_spreads(self):
        self.assertEqual(figures.spread([3.0])["upper_quartile"], 3.0)
        found = figures.spread([5.0, 1.0, 3.0, 2.0, 4.0])
        self.assertEqual((found["lowest"], found["lower_quartile"], found["median"], found["highest"]), (1.0, 2.0, 3.0, 5.0))


class FakeSide:
    """Answers calls of `run` in order and remembers them."""

    def __init__(self, order, name, answer):
        self.order, self.name, self.answer = order, name, answer

    def run(self, part, **options):
        self.order.append((self.name, options.get("mode")))
        return self.answer(options)


class CommandLine(unittest.TestCase):
    def both(self, arguments, ours, theirs):
        order, out = [], io.StringIO()
        with mock.patch.object(main, "Danlu", lambda *_: FakeSide(order, "danlu", ours)), mock.patch.object(
            main, "Torch", lambda *_: FakeSide(order, "torch", theirs)
        ), contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            code = main.main(arguments)
        return code, order, out.getvalue()

    def test_the_sides_take_turns_and_the_last_line_is_json(self):
        code, order, out = self.both(
            ["train", "--rounds", "2", "--json"],
            lambda _: danlu([0.5], 100),
            lambda options: run_of(options["mode"], [1.0], 200),
        )
        self.assertEqual(code, 0)
        turn = [("danlu", None), ("torch", "eager"), ("danlu", None), ("torch", "compile")]
        self.assertEqual(order, turn * 2)
        joined = json.loads(out.splitlines()[-1])
        self.assertEqual((joined["ratio"], joined["memory_ratio"], joined["peer_mode"]), (2.0, 0.5, "eager"))
        self.assertIn("PyTorch compile", out)

    def test_the_peer_is_given_danlus_cases(self):
        def peer(options):
            asked = json.loads(options["like"])["cases"]
            self.assertEqual(asked, [{"shape": [1, 2, 3], "product": "forward", "precision": "f32"}])
            return {**ABOUT, "peak_rss_bytes": 2, "cases": [{**asked[0], "gflops": 5.0}]}

        case = {"shape": [1, 2, 3], "product": "forward", "precision": "f32", "gflops": 10.0, "spread": {}}
        ours = {**ABOUT, "peak_rss_bytes": 1, "cases": [case], "fraction_of_peak": 0.5}
        code, _, out = self.both(["gemm", "--rounds", "1", "--json"], lambda _: ours, peer)
        joined = json.loads(out.splitlines()[-1])
        self.assertEqual((code, joined["ratio"], joined["fraction_of_peak"]), (0, 2.0, 0.5))

    def test_a_side_that_fails_ends_the_run(self):
        def broken(_):
            raise sides.Failed("no such program")

        with contextlib.redirect_stderr(io.StringIO()):
            code, _, out = self.both(["train", "--json"], broken, broken)
        self.assertEqual((code, out), (1, ""))


if __name__ == "__main__":
    unittest.main()
