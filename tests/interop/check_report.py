"""Opens a report in a real Chromium, as wide as a phone and as a desktop, light, dark and printed.

    cllm-dist report RUN --out report.html
    python3 tests/interop/check_report.py report.html RUN [--pictures DIR]

Needs `pip install playwright` and a Chromium, which CHROMIUM names (else /usr/bin/chromium). Ends with 1 where the
console says anything, something is loaded from elsewhere, the page is wider than the window, a text lies over
another or beyond its plot, or a number differs from metrics.jsonl.
"""
import argparse
import json
import math
import os
import pathlib
import sys

from playwright.sync_api import sync_playwright

VIEWS = {"phone": (360, 740, "light"), "phone-dark": (360, 740, "dark"), "desktop": (1280, 900, "light"),
         "desktop-dark": (1280, 900, "dark"), "print": (794, 1123, "light")}

# Boxes of all texts that can be seen, and of the plots that they are in.
BOXES = """() => {
  const boxes = [];
  // What is folded has a box, too.
  const seen = (element, box) => element.checkVisibility() && box.width > 0 && box.height > 0;
  document.querySelectorAll('svg').forEach((svg, plot) => {
    const outer = svg.getBoundingClientRect();
    if (!seen(svg, outer)) return;
    svg.querySelectorAll('text').forEach((text) => {
      const box = text.getBoundingClientRect();
      boxes.push({plot, text: text.textContent, size: parseFloat(getComputedStyle(text).fontSize) * outer.width / 560,
                  left: box.left, right: box.right, top: box.top, bottom: box.bottom,
                  outer: {left: outer.left, right: outer.right, top: outer.top, bottom: outer.bottom}});
    });
  });
  document.querySelectorAll('h1, h2, h3, p, figcaption, svg, .tile > div, td, th, .axes > label, .legend li').forEach((element) => {
    const range = document.createRange();
    range.selectNodeContents(element);
    const box = element.tagName === 'svg' ? element.getBoundingClientRect() : range.getBoundingClientRect();
    if (seen(element, box)) boxes.push({plot: -1, text: element.textContent.slice(0, 40), left: box.left, right: box.right,
                               top: box.top, bottom: box.bottom, scrolls: !!element.closest('.scroll')});
  });
  return boxes;
}"""

# What is drawn of losses, read back from the plots' own units.
CURVES = """() => {
  const curves = [];
  document.querySelectorAll('.by-steps svg').forEach((svg) => {
    const x = svg.dataset.x.split(' ').map(Number), y = svg.dataset.y.split(' ').slice(0, 4).map(Number);
    svg.querySelectorAll('polyline').forEach((line) => {
      const points = [...line.points].map((p) => [x[0] + (p.x - x[2]) / (x[3] - x[2]) * (x[1] - x[0]),
                                                  y[0] + (p.y - y[2]) / (y[3] - y[2]) * (y[1] - y[0])]);
      curves.push({css: line.getAttribute('class'), points, unit: [(x[1] - x[0]) / (x[3] - x[2]),
                   (y[1] - y[0]) / (y[2] - y[3])]});
    });
  });
  return curves;
}"""


def overlaps(boxes):
    """Pairs of texts that lie over each other by more than half a pixel; plots are compared by themselves."""
    found = []
    groups = {}
    for box in boxes:
        groups.setdefault(box["plot"], []).append(box)
    for group in groups.values():
        group.sort(key=lambda box: box["top"])
        for i, one in enumerate(group):
            for other in group[i + 1:]:
                if other["top"] >= one["bottom"] - 0.5:
                    break
                if one["left"] < other["right"] - 0.5 and other["left"] < one["right"] - 0.5:
                    found.append((one["text"], other["text"]))
    return found


def beyond(boxes):
    """Texts that their plot cuts off."""
    return [box["text"] for box in boxes if box["plot"] >= 0 and (
        box["left"] < box["outer"]["left"] - 0.5 or box["right"] > box["outer"]["right"] + 0.5
        or box["top"] < box["outer"]["top"] - 0.5 or box["bottom"] > box["outer"]["bottom"] + 0.5)]


def wrong_numbers(page, lines):
    """What the page shows otherwise than metrics.jsonl has it."""
    wrong = []
    shown = page.eval_on_selector_all("data", "all => all.map(each => [Number(each.value), each.textContent])")
    values = {value for value, _ in shown}
    for value, text in shown:
        if abs(float(text.replace(",", "")) - value) > 0.5001 * 10 ** -len(text.partition(".")[2]):
            wrong.append(f"{text} stands for {value}")
    losses = {line["step"]: line["loss"] for line in lines if line.get("loss") is not None}
    validations = {line["step"]: line["val_loss"] for line in lines if line.get("val_loss") is not None}
    for what, wanted in (("last loss", losses[max(losses)]), ("best validation", min(validations.values()))):
        if wanted not in values:
            wrong.append(f"{what} {wanted} is not there")
    for step in sorted(validations)[-20:]:
        if validations[step] not in values:
            wrong.append(f"validation {validations[step]} of step {step} is not there")
    compared = 0
    raw = "faint c0" if len(losses) >= 60 else "line c0"
    for curve in page.evaluate(CURVES):
        if curve["css"] == raw:
            known = losses
        elif curve["css"] == "line c1":
            known = validations
        else:
            continue
        # Points are drawn to a twentieth of a unit, at most.
        reach, height = (0.0501 * unit for unit in curve["unit"])
        for x, y in curve["points"]:
            near = [step for step in range(math.floor(x - reach), math.ceil(x + reach) + 1) if step in known]
            compared += 1
            if not any(abs(known[step] - y) <= height for step in near):
                wrong.append(f"{curve['css']}: no number near step {x:.2f} is {y:.4f}")
    if compared < len(validations):
        wrong.append(f"only {compared} points are drawn")
    print(f"{len(shown)} numbers and {compared} points compared")
    return wrong


def check(browser, report, lines, view, pictures):
    width, height, scheme = VIEWS[view]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    problems = []
    page.on("console", lambda message: problems.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: problems.append(f"script: {error}"))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or problems.append(request.url))
    page.goto(report.resolve().as_uri())
    if view == "print":
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
    if pictures:
        page.screenshot(path=str(pictures / f"{view}.png"))
        page.screenshot(path=str(pictures / f"{view}-whole.png"), full_page=True)
    choices = page.eval_on_selector_all(".axes > input", "all => all.map(each => each.id)")
    for choice in choices if view != "print" else choices[:1]:
        if view != "print":
            page.locator(f"label[for={choice}]").click()
        boxes = page.evaluate(BOXES)
        problems += [f"{choice}: {one!r} and {other!r} overlap" for one, other in overlaps(boxes)]
        problems += [f"{choice}: {text!r} is cut off" for text in beyond(boxes)]
        small = min(box["size"] for box in boxes if box["plot"] >= 0)
        if small < 9:
            problems.append(f"{choice}: text of {small:.1f} pixels is too small")
    wide = page.evaluate("document.documentElement.scrollWidth")
    if wide > width:
        problems.append(f"the page is {wide} wide")
    print(f"{view}: {len(choices)} choices, {len(boxes)} texts")
    if lines:
        problems += wrong_numbers(page, lines)
    if view == "print":
        page.pdf(path=os.devnull)
    page.close()
    return [f"{view}: {problem}" for problem in problems]


def prove_checks(browser):
    """What must be found is found."""
    page = browser.new_page()
    page.set_content("<svg width=560 viewBox='0 0 560 100'><text x=10 y=20>one</text><text x=12 y=22>two</text>"
                     "<text x=550 y=50>three</text></svg><p>four</p><p style='margin-top:-20px'>five</p>")
    boxes = page.evaluate(BOXES)
    assert ("one", "two") in overlaps(boxes) and len(overlaps(boxes)) == 2, overlaps(boxes)
    assert beyond(boxes) == ["three"], beyond(boxes)
    page.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=pathlib.Path)
    parser.add_argument("run", type=pathlib.Path, nargs="?", help="the run of a report about a single one")
    parser.add_argument("--pictures", type=pathlib.Path)
    options = parser.parse_args()
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    lines = list(map(json.loads, open(options.run / "metrics.jsonl"))) if options.run else []
    problems = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
                                             args=["--no-sandbox"])
        prove_checks(browser)
        for view in VIEWS:
            problems += check(browser, options.report, lines, view, options.pictures)
        browser.close()
    print(*problems, sep="\n")
    print(f"{len(problems)} problems")
    sys.exit(bool(problems))


main()
