"""Planting and judging. `python3 -m unittest discover -s bench/tests`; needs neither danlu nor datatrove."""

import os
import random
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
sys.dont_write_bytecode = True

import plant  # noqa: E402
from compare import data, figures  # noqa: E402


def text(rng, chinese):
    units = [chr(0x4E00 + rng.randrange(2000)) if chinese else f"word{rng.randrange(2000)}" for _ in range(600)]
    return ("" if chinese else " ").join(units)


class Planting(unittest.TestCase):
    def test_ngrams_are_those_of_the_definition(self):
        self.assertEqual(plant.ngrams("A b, c d\ne F!"), {("a", "b", "c", "d", "e"), ("b", "c", "d", "e", "f")})
        self.assertEqual(plant.ngrams("春眠不覺曉，處處聞啼"), {tuple("春眠不覺曉處處聞"), tuple("眠不覺曉處處聞啼")})
        self.assertEqual(plant.ngrams("one two"), {("one", "two")})
        # A word fills a fifth of a window, a character an eighth: one word and seven characters are the first to fill it.
        self.assertEqual(plant.ngrams("Rust春眠不覺曉處處"), {("rust", *"春眠不覺曉處處")})

    def test_copies_fall_into_their_bands(self):
        rng = random.Random(1)
        for chinese in (False, True):
            for band, (low, high) in plant.BANDS.items():
                original = text(rng, chinese)
                copy, similarity = plant.near_copy(original, band, rng)
                self.assertEqual(similarity, plant.jaccard(plant.ngrams(original), plant.ngrams(copy)))
                self.assertTrue(low <= similarity < high, (band, similarity))

    def test_every_document_stays_and_copies_come_later(self):
        rng = random.Random(2)
        documents = [{"id": str(i), "text": text(rng, i % 2), "source": "s"} for i in range(400)]
        planted = list(plant.plant(documents, seed=3))
        self.assertEqual([d for d, truth in planted if truth is None], documents)
        place = {d["id"]: i for i, (d, _) in enumerate(planted)}
        truths = [truth for _, truth in planted if truth]
        self.assertGreater(len(truths), 10)
        for truth in truths:
            self.assertLess(place[truth["original"]], place[truth["copy"]])
        self.assertEqual(planted, list(plant.plant(documents, seed=3)))


class Judging(unittest.TestCase):
    def test_pairs_count_by_what_deduplication_saw(self):
        rng = random.Random(4)
        original = text(rng, False)
        near, _ = plant.near_copy(original, "0.9", rng)
        miss, similarity = plant.near_copy(original, "miss", rng)
        truth = lambda kind, copy: {"kind": kind, "original": "o", "copy": copy, "jaccard": 0}  # noqa: E731
        truths = [truth("0.9", "found"), truth("0.9", "left"), truth("0.9", "filtered"), truth("miss", "m"), truth("exact", "e")]
        records = [
            {"id": "o", "text": original},
            {"id": "found", "text": near, "kept": "o", "kept_text": original, "similarity": 0.92},
            {"id": "left", "text": near},
            {"id": "m", "text": miss, "kept": "o", "kept_text": original, "similarity": similarity},
            {"id": "e", "text": original, "kept": "o", "kept_text": original, "similarity": 1.0},
        ]
        judged = data.judged(truths, records)
        self.assertEqual((judged["near_duplicate_recall"], judged["planted_pairs"], judged["exact_recall"]), (0.5, 2, 1.0))
        self.assertEqual((judged["false_removals"], judged["removals_examined"]), (1, 3))
        self.assertEqual(judged["lowest_similarity_removed"], similarity)

    def test_the_slices_must_be_the_same(self):
        run = {"side": "danlu", "version": "1", "bytes": 4_000_000, "documents": 2, "threads": 2, "seconds": 1.0,
               "peak_rss_bytes": 10**9, "result": "r"}
        peer = {**run, "side": "datatrove", "seconds": 4.0}
        joined = data.join(run, {**run, "result": "other"}, {}, run, peer)
        self.assertEqual((joined["danlu_mb_per_s_per_core"], joined["ratio"], joined["same_at_512_mb"]), (2.0, 4.0, False))
        self.assertIsNone(data.join(run, run, {})["ratio"])
        with self.assertRaises(figures.Unfair):
            data.join(run, run, {}, run, {**peer, "bytes": 5})


if __name__ == "__main__":
    unittest.main()
