// Prepare the slides, then start reveal.js. MathJax calls start() when all formulas are drawn, because only then
// is it known how much room each block takes.
const ROOM = 720 - 2 * 30; // the height of a slide less its padding, in pixels; see deck.css

window.MathJax = {
  tex: { inlineMath: [["$", "$"]], displayMath: [["$$", "$$"]] },
  options: { enableMenu: false },
  startup: { pageReady: () => MathJax.startup.defaultPageReady().then(start) },
};

const AGAIN = 40; // the height of the small line that repeats a section's name on its further slides
// The window of the speaker notes copies them, and has a narrow column for them.
const NOTES_STYLE = "<style>.speaker-controls-notes pre, .speaker-controls-notes code { white-space: pre-wrap; overflow-wrap: anywhere; "
  + "font-size: 14px; line-height: 1.35; margin: 0 0 8px } .speaker-controls-notes p { font-size: 20px; line-height: 1.3; margin: 0 0 10px }</style>";
// A picture may shrink to this height, so that the text about it stays beside it; a high one has more in it.
const least = (image) => (image.naturalWidth > 1.6 * image.naturalHeight ? 250 : 400);
const MOST_PICTURE = 600;
const ENLARGED = 1.7; // and grow to so many times its own size

// A notebook's cells become a flat list of blocks: paragraphs, pictures, code, outputs, notes.
function flatten(slide) {
  const blocks = [];
  for (const part of slide.querySelectorAll(":scope .jp-Cell, :scope aside.notes")) {
    if (part.matches("aside")) blocks.push(part);
    else if (part.closest("aside")) continue;
    else if (part.matches(".jp-MarkdownCell")) blocks.push(...part.querySelector(".jp-RenderedMarkdown").children);
    else blocks.push(...part.querySelectorAll(".jp-InputArea-editor, .jp-OutputArea-output"));
  }
  return blocks.filter((block) => block.matches("aside") || block.textContent.trim() || block.querySelector("img"));
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

const isCode = (block) => block.matches(".jp-InputArea-editor");
const isOutput = (block) => block.matches(".jp-OutputArea-output");
const isHeading = (block) => block.matches("h1, h2, h3");
const isAnswer = (block) => block.matches("p") && /^(Answer|정답):/.test(block.textContent);
const asks = (block) => !isCode(block) && /Predict before you run|실행하기 전에 예측해/.test(block.textContent);

// What it costs to begin a slide with a block: much where it belongs to the one above, nothing where the author did.
function price(block, above) {
  if (isHeading(above)) return 20;
  if (isAnswer(block)) return 8;
  if (block.matches("[data-half]")) return 0.1;
  if (isOutput(block) && isOutput(above)) return 0.5;
  if (isOutput(block)) return block.offsetHeight < 80 ? 1.2 : 0.6; // a line of output alone means nothing
  if (above.textContent.trim().endsWith(":") && !isOutput(above) && !isCode(above)) return 0.9;
  if (block.dataset.start) return 0;
  if (block.matches("ul, ol, mjx-container")) return 0.6;
  return block.matches("h3") ? 0.05 : 0.3;
}

// Distribute the blocks of a section over slides: as few as possible, none nearly empty, cut where it costs least.
// This is how TeX breaks a paragraph into lines. Lines may stand closer ("tight") where that saves a slide.
function distribute(long, blocks) {
  const measure = () => blocks.map((block) => ({ top: block.offsetTop, bottom: block.offsetTop + block.offsetHeight }));
  const ways = [{ name: "", cost: 0, at: measure() }];
  long.classList.add("tight");
  ways.push({ name: "tight", cost: 0.2, at: measure() });
  long.classList.remove("tight");
  const give = blocks.map((block) => {
    const image = block.querySelector("img");
    return image ? Math.max(0, image.offsetHeight - least(image)) : 0;
  });
  const best = [{ cost: 0 }];
  for (let end = 1; end <= blocks.length; end++) {
    best[end] = { cost: Infinity };
    let spare = 0;
    for (let from = end - 1; from >= 0; from--) {
      spare += give[from];
      const high = ({ at }) => (isHeading(blocks[from]) ? 0 : AGAIN) + at[end - 1].bottom - at[from].top;
      const way = ways.find((one) => high(one) - spare <= ROOM) || (from === end - 1 && ways[0]);
      if (!way) break;
      const empty = spare ? 0 : Math.max(0, 1 - high(way) / ROOM);
      const cut = from ? price(blocks[from], blocks[from - 1]) : 0;
      const cost = best[from].cost + 1 + way.cost + 2.6 * empty * empty + cut;
      if (cost < best[end].cost) best[end] = { cost, from, name: way.name };
    }
  }
  const pages = [];
  for (let end = blocks.length; end > 0; end = best[end].from) {
    pages.unshift({ blocks: blocks.slice(best[end].from, end), name: best[end].name });
  }
  return pages;
}

// After "Predict before you run", the result and all that follows wait for the next key.
function wait(page) {
  let question = 0, hidden = false;
  for (const block of page) {
    if (question && isOutput(block)) hidden = true;
    if (isAnswer(block)) block.classList.add("fragment");
    else if (hidden) {
      block.classList.add("fragment");
      block.dataset.fragmentIndex = question;
    }
    if (asks(block)) question++;
  }
}

// Pictures take the room that the rest leaves. Where there are none and much is left, letters grow.
function fill(slide) {
  const used = () => {
    const last = [...slide.children].filter((block) => block.offsetHeight > 0).pop();
    return last.offsetTop + last.offsetHeight - slide.firstElementChild.offsetTop;
  };
  const images = [...slide.querySelectorAll("img")];
  if (images.length) {
    const left = ROOM - used() + images.reduce((sum, image) => sum + image.offsetHeight, 0);
    for (const image of images) {
      const high = Math.min(left / images.length, MOST_PICTURE, ENLARGED * image.naturalHeight);
      image.style.maxHeight = image.style.height = `${Math.floor(high)}px`;
    }
  }
  const longest = Math.max(0, ...[...slide.querySelectorAll("pre")].flatMap((pre) => pre.textContent.split("\n").map((line) => line.length)));
  for (const size of ["larger", "large"]) {
    if (longest > (size === "larger" ? 82 : 96)) continue;
    slide.classList.add(size);
    if (used() <= ROOM * 0.94) break;
    slide.classList.remove(size);
  }
}

// The first slide: the title, and a picture of the notebook's.
function titleSlide(stack, first) {
  const heading = first.find((block) => block.matches("h1"));
  const drawings = [...document.querySelectorAll(".slides img")];
  const area = (image) => image.naturalWidth * image.naturalHeight;
  const drawing = drawings.find((image) => image.src.startsWith("data:image/svg")) || drawings.sort((a, b) => area(b) - area(a))[0];
  const slide = document.createElement("section");
  slide.className = "title";
  const words = document.createElement("div");
  words.innerHTML = '<p class="course"></p>';
  words.firstChild.textContent = document.querySelector("main").dataset.course;
  words.append(heading, ...first.filter((block) => block.matches("p") && /^(Time|시간):/.test(block.textContent)));
  slide.append(words);
  if (drawing) slide.append(drawing.cloneNode(true));
  return slide;
}

async function start() {
  await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
  document.querySelector(".reveal").classList.add("measure");
  for (const [place, stack] of [...document.querySelectorAll(".slides > section")].entries()) {
    let blocks = [];
    for (const slide of stack.querySelectorAll("section")) {
      const part = flatten(slide);
      const first = part.find((block) => !block.matches("aside"));
      if (first) first.dataset.start = "yes";
      blocks.push(...part);
    }
    const title = place ? null : titleSlide(stack, blocks);
    blocks = blocks.filter((block) => !title || !title.contains(block));
    const heading = blocks.find((block) => block.matches("h2")) || (title || stack).querySelector("h1, h2");
    const name = heading ? heading.textContent.replace("¶", "") : "";
    // Notes stay with the block above them.
    const notes = new Map();
    blocks.forEach((block, i) => {
      if (!block.matches("aside")) return;
      const above = blocks.slice(0, i).reverse().find((other) => !other.matches("aside")) || blocks[i + 1];
      notes.set(above, [...(notes.get(above) || []), block]);
    });
    blocks = blocks.filter((block) => !block.matches("aside"));
    const long = document.createElement("section");
    long.append(...blocks);
    stack.replaceChildren(long);
    for (let i = 0; i < blocks.length; i++) {
      while (blocks[i].offsetHeight > ROOM - 70) {
        const half = halve(blocks[i]);
        if (!half) break;
        half.dataset.half = "yes";
        blocks[i].after(half);
        blocks.splice(i + 1, 0, half);
      }
    }
    const slides = distribute(long, blocks).map(({ blocks: page, name: tight }) => {
      const slide = document.createElement("section");
      slide.className = tight;
      if (!isHeading(page[0])) {
        const again = document.createElement("p");
        again.className = "again";
        again.textContent = name;
        slide.append(again);
      }
      wait(page);
      slide.append(...page);
      const asides = page.flatMap((block) => notes.get(block) || []);
      if (asides.length) asides[0].insertAdjacentHTML("afterbegin", NOTES_STYLE);
      slide.append(...asides);
      return slide;
    });
    stack.replaceChildren(...(title ? [title] : []), ...slides);
    slides.forEach(fill);
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
