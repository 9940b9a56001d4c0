"""Makes crates/data/src/augment/testdata/blocks.ttf, a font of our own whose letters are rectangles (needs fonttools)."""

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
def rect(*boxes):
    pen = TTGlyphPen(None)
    for x0, y0, x1, y1 in boxes:
        pen.moveTo((x0, y0)); pen.lineTo((x0, y1)); pen.lineTo((x1, y1)); pen.lineTo((x1, y0)); pen.closePath()
    return pen.glyph()
order = [".notdef", "space", "A", "b", "period", "spring", "sleep"]
fb = FontBuilder(1000, isTTF=True)
fb.setupGlyphOrder(order)
fb.setupCharacterMap({0x20: "space", 0x41: "A", 0x62: "b", 0x2E: "period", 0x6625: "spring", 0x7720: "sleep"})
fb.setupGlyf({".notdef": rect(), "space": rect(), "A": rect((100, 0, 500, 700)), "b": rect((100, 0, 300, 700)), "period": rect((100, 0, 200, 100)), "spring": rect((50, 0, 950, 800)), "sleep": rect((50, 0, 450, 800), (550, 0, 950, 800))})
w = {".notdef": 500, "space": 300, "A": 600, "b": 500, "period": 300, "spring": 1000, "sleep": 1000}
fb.setupHorizontalMetrics({k: (v, 100 if k not in (".notdef","space") else 0) for k, v in w.items()})
fb.setupHorizontalHeader(ascent=800, descent=-200)
fb.setupNameTable({"familyName": "Blocks", "styleName": "Regular"})
fb.setupOS2(sTypoAscender=800, sTypoDescender=-200); fb.setupPost()
fb.font["head"].created = fb.font["head"].modified = 0
fb.font.recalcTimestamp = False
fb.save("crates/data/src/augment/testdata/blocks.ttf")
