// What CSS cannot do: fit tables and formulas to the width of a phone.

const PHONE = window.matchMedia("(max-width: 46em)");
const ORIGINALS = new Map(); // a broken formula: the formula in one piece

// The rows of a table that does not fit become blocks, each cell with its heading.
function stackTables() {
  for (const wrapper of document.querySelectorAll(".table-wrapper")) {
    const table = wrapper.querySelector("table");
    const heads = [...table.querySelectorAll("thead th")].map(x => x.textContent.trim());
    for (const row of table.querySelectorAll("tbody tr")) {
      [...row.cells].forEach((cell, i) => {
        if (heads[i]) cell.dataset.label = heads[i];
      });
    }
    table.classList.remove("stacked");
    const isTooWide =
      table.classList.contains("names") || wrapper.scrollWidth > wrapper.clientWidth + 1;
    table.classList.toggle("stacked", PHONE.matches && isTooWide);
  }
}

// The same formula with a new line at each `\qquad`, or also at each `\quad`, that is not
// inside brackets, braces, or an environment such as `cases`.
function brokenAt(space, tex) {
  const token =
    /\\(begin|end)\{([a-z]+)\*?\}|\\(left|right|q?quad)(?![a-zA-Z])|[{}&]/g;
  let depth = 0;
  let isAligned = false;
  const lines = tex.replace(token, (x, side, name) => {
    if (/^(align|split|gather)/.test(name)) return "";
    if (side == "begin" || x == "{" || x == "\\left") depth++;
    if (side == "end" || x == "}" || x == "\\right") depth--;
    if (x == "&" && depth == 0) isAligned = true;
    return space.test(x) && depth == 0 ? "\\\\ \\next" : x;
  });
  const name = isAligned ? "aligned" : "gathered";
  const broken = lines.replaceAll("\\next", isAligned ? "&" : "");
  return `\\begin{${name}}${broken}\\end{${name}}`;
}

function widthOf(formula) {
  return formula.firstElementChild.getBoundingClientRect().width;
}

function spaceFor(formula) {
  let block = formula.parentElement;
  while (!block.clientWidth) block = block.parentElement; // an inline element has none
  const { paddingLeft, paddingRight } = getComputedStyle(block);
  return block.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
}

// A formula that does not fit is broken between its parts, then set smaller.
function fitFormula(formula, tex) {
  const space = spaceFor(formula);
  if (formula.getAttribute("display") && widthOf(formula) > space) {
    const whole = formula;
    for (const at of [/^\\qquad$/, /quad$/]) {
      const width = widthOf(formula);
      if (width <= space) break;
      const broken = MathJax.tex2chtml(brokenAt(at, tex), { display: true });
      MathJax.startup.document.clear();
      MathJax.startup.document.updateDocument();
      formula.replaceWith(broken);
      const isError = broken.querySelector("mjx-merror");
      if (!isError && widthOf(broken) < width) formula = broken;
      else broken.replaceWith(formula);
    }
    if (formula != whole) ORIGINALS.set(formula, whole);
  }
  if (widthOf(formula) > space) {
    const size = parseFloat(getComputedStyle(formula).fontSize);
    formula.style.fontSize = `${(0.98 * size * space) / widthOf(formula)}px`;
  }
}

// A name in a title is set smaller on a phone and broken after its dots only.
function breakTitle() {
  const title = document.querySelector("h1");
  if (!title?.textContent.startsWith("oxe.")) return;
  title.classList.add("name");
  const parts = title.firstChild.textContent.split(/(?<=\.)/);
  const pieces = parts.map(x => {
    const piece = document.createElement("span");
    piece.textContent = x;
    return piece;
  });
  title.firstChild.replaceWith(
    ...pieces.flatMap(x => [x, document.createElement("wbr")]));
}

// A part of a name that is wider than the page makes its title smaller.
function fitTitle() {
  const title = document.querySelector("h1.name");
  if (!title) return;
  title.style.fontSize = "";
  const widths = [...title.querySelectorAll("span")].map(
    x => x.getBoundingClientRect().width);
  const widest = Math.max(...widths);
  if (widest > title.clientWidth) {
    const size = parseFloat(getComputedStyle(title).fontSize);
    title.style.fontSize = `${(0.98 * size * title.clientWidth) / widest}px`;
  }
}

// A name that would take the width of its table may be broken at its underscores.
function breakLongNames() {
  for (const link of document.querySelectorAll("table.names a.internal")) {
    const text = link.querySelector(".doc") || link;
    if (text.textContent.length <= 40) continue;
    const parts = text.textContent.split(/(?<=[._])/);
    text.replaceChildren(...parts.flatMap(x => [x, document.createElement("wbr")]));
  }
}

function fit(sources) {
  // At their full size first: small formulas would let a wide table pass.
  for (const [broken, whole] of ORIGINALS) broken.replaceWith(whole);
  ORIGINALS.clear();
  for (const formula of sources.keys()) formula.style.fontSize = "";
  fitTitle();
  stackTables();
  for (const [formula, tex] of sources) fitFormula(formula, tex);
}

window.addEventListener("load", async () => {
  const sources = new Map();
  if (window.MathJax) {
    await MathJax.startup.promise;
    for (const item of MathJax.startup.document.math) {
      sources.set(item.typesetRoot, item.math);
    }
  }
  breakTitle();
  breakLongNames();
  fit(sources);
  document.documentElement.dataset.fitted = true; // for the tests
  window.addEventListener("resize", () => fit(sources));
});
