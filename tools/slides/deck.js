// Prepare the slides, then start reveal.js. MathJax calls start() when all formulas are drawn, because only then
// is it known how much room each block takes.
const ROOM = 720 - 2 * 30; // the height of a slide less its padding, in pixels; see deck.css

window.MathJax = {
  tex: { inlineMath: [["$", "$"]], displayMath: [["$$", "$$"]] },
  options: { enableMenu: false },
  startup: { pageReady: () => MathJax.startup.defaultPageReady().then(start) },
};

// A notebook's cells become a flat list of blocks: paragraphs, pictures, code, outputs.
function flatten(slide) {
  const blocks = [];
  for (const cell of slide.querySelectorAll(":scope > .jp-Cell, :scope > .fragment > .jp-Cell")) {
    const text = cell.querySelector(".jp-RenderedMarkdown");
    blocks.push(...(cell.matches(".jp-MarkdownCell") ? text.children : []));
    blocks.push(...cell.querySelectorAll(".jp-InputArea-editor, .jp-OutputArea-output"));
  }
  for (const block of blocks) {
    if (block.matches("p") && block.textContent.startsWith("Answer:")) block.classList.add("fragment");
  }
  slide.replaceChildren(...blocks, ...slide.querySelectorAll("aside.notes"));
}

function height(slide) {
  const last = [...slide.children].filter((block) => block.offsetHeight > 0).pop();
  return last ? last.offsetTop + last.offsetHeight - slide.firstElementChild.offsetTop : 0;
}

// Halve a block that is too tall for a slide of its own: a list by its items, a table by its rows, text by lines.
function halve(block) {
  const rest = block.cloneNode(true);
  const rows = (part) => [...part.querySelectorAll("li, tbody tr")];
  const middle = Math.ceil(rows(block).length / 2);
  if (middle > 1) {
    rows(block).slice(middle).forEach((row) => row.remove());
    rows(rest).slice(0, middle).forEach((row) => row.remove());
    if (rest.matches("ol")) rest.start = (block.start || 1) + middle;
    return rest;
  }
  const pre = block.querySelector("pre");
  if (!pre || pre.children.length) return null;
  const lines = pre.textContent.trimEnd().split("\n");
  const half = Math.ceil(lines.length / 2);
  pre.textContent = lines.slice(0, half).join("\n");
  rest.querySelector("pre").textContent = lines.slice(half).join("\n");
  return rest;
}

// Move what does not fit on a slide to a new one below it.
function paginate(slide, title) {
  slide.style.display = "block";
  const rest = [];
  const blocks = () => [...slide.children].filter((block) => !block.matches("aside"));
  while (height(slide) > ROOM) {
    const least = slide.querySelector("h1, h2, h3, .again") ? 2 : 1;
    if (blocks().length > least) {
      rest.unshift(blocks().pop());
      rest[0].remove();
    } else {
      const half = halve(blocks().pop());
      if (!half) break;
      rest.unshift(half);
    }
  }
  // An output takes its code along, unless the code is all that the slide has.
  if (rest.length && rest[0].matches(".jp-OutputArea-output") && blocks().length > 2) {
    while (blocks().length > 2 && !rest[0].matches(".jp-InputArea-editor")) {
      rest.unshift(blocks().pop());
      rest[0].remove();
    }
  }
  // A heading does not stay behind alone, nor does a question without its answer.
  if (rest.length && blocks().length > 2 && (blocks().pop().matches("h3") || rest[0].matches(".fragment"))) {
    rest.unshift(blocks().pop());
    rest[0].remove();
  }
  slide.style.display = "";
  if (!rest.length) return;
  const next = document.createElement("section");
  const again = document.createElement("p");
  again.className = "again";
  again.textContent = title;
  if (!rest[0].matches("h1, h2, h3")) next.append(again);
  next.append(...rest);
  slide.after(next);
  paginate(next, title);
}

async function start() {
  await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
  document.querySelector(".reveal").classList.add("measure");
  for (const stack of document.querySelectorAll(".slides > section")) {
    const heading = stack.querySelector("h1, h2");
    const title = heading ? heading.textContent.replace("¶", "") : "";
    for (const slide of [...stack.querySelectorAll("section")]) {
      flatten(slide);
      if (slide.firstElementChild && !slide.firstElementChild.matches("h1, h2, h3, aside")) {
        slide.insertAdjacentHTML("afterbegin", '<p class="again"></p>');
        slide.firstElementChild.textContent = title;
      }
      paginate(slide, title);
    }
    for (const slide of stack.querySelectorAll("section")) {
      if (![...slide.children].some((block) => !block.matches(".again, aside"))) slide.remove();
    }
  }
  document.querySelector(".reveal").classList.remove("measure");
  await Reveal.initialize({
    width: 1280,
    height: 720,
    margin: 0,
    center: false,
    hash: true,
    slideNumber: "c/t",
    transition: "none",
    pdfSeparateFragments: false,
    pdfMaxPagesPerSlide: 1,
    plugins: [RevealNotes],
  });
  document.documentElement.dataset.deck = "ready"; // the tests wait for this
}
