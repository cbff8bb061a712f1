// The page: photographs go to /predict as they are, one a request; maps are asked of /explain when they are wanted.

const NAMES = {
  akiec: "Actinic keratosis",
  bcc: "Basal cell carcinoma",
  bkl: "Benign keratosis",
  df: "Dermatofibroma",
  mel: "Melanoma",
  nv: "Melanocytic nevus",
  vasc: "Vascular lesion",
};
const LARGEST = 10e6; // bytes, with what a form adds
const FORM = 1000;
const TRIES = 5; // while too many others are waiting

const find = (selector, within = document) => within.querySelector(selector);
const percent = (share) => (share < 0.001 ? "< 0.1\u00a0%" : `${(100 * share).toFixed(1)}\u00a0%`);
const cards = []; // {file, answer, element, address, explained, asked, gone}; answer: null until the server has given one
let token = "";

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, file, fields, signal) {
  const form = new FormData();
  form.append("images", file, file.name);
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  for (let left = TRIES; ; left--) {
    const response = await fetch(path, { method: "POST", body: form, headers, signal });
    if (response.ok) return response.json();
    if (response.status !== 429 || left === 0) {
      const { error } = await response.json().catch(() => ({ error: `the server answered ${response.status}` }));
      throw new Refused(response.status, error);
    }
    await new Promise((resolve) => setTimeout(resolve, 1000 * (response.headers.get("Retry-After") || 5)));
    signal.throwIfAborted();
  }
}

// An element with properties and children; text stays text, whatever a file is called.
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Nothing is said of an answer that nobody waits for.
function say(text) {
  if (text) find("#status").textContent = text;
}

async function add(files) {
  const chosen = [...files];
  if (!chosen.length) return;
  say(`Working on ${chosen.length === 1 ? chosen[0].name : `${chosen.length} photographs`} ...`);
  const cards = chosen.reverse().map(newCard).reverse(); // each goes on top, so the first one comes last
  const said = await Promise.all(cards.map(predict));
  say(said.filter(Boolean).join(" "));
}

function newCard(file) {
  const element = find("#card").content.firstElementChild.cloneNode(true);
  const card = { file, element, address: URL.createObjectURL(file), answer: null, asked: 0, gone: new AbortController() };
  find("h3", element).textContent = file.name;
  const image = find(".seen", element);
  image.src = card.address;
  image.alt = `The photograph ${file.name}`;
  find(".remove", element).setAttribute("aria-label", `Remove ${file.name}`);
  find(".remove", element).onclick = () => remove(card);
  for (const box of element.querySelectorAll(".show input")) box.onchange = () => toggled(card, box);
  const known = find(".known", element);
  known.onchange = () => known.reportValidity() && predict(card).then(say);
  known.onsubmit = (event) => event.preventDefault(); // of the key Enter: what has changed is asked already
  cards.unshift(card);
  find("#results").prepend(element);
  find("#results-section").hidden = false;
  return card;
}

function remove(card) {
  card.asked += 1; // an answer that is still to come is of nobody's
  card.gone.abort();
  URL.revokeObjectURL(card.address);
  cards.splice(cards.indexOf(card), 1);
  card.element.remove();
  find("#results-section").hidden = !cards.length;
  drawPair();
  say(`${card.file.name} is removed.`);
  find("#files").focus();
}

function fail(card, problem) {
  if (problem.status === 401) {
    find("#access").hidden = false;
    find("#token").focus();
  }
  const text = problem instanceof Refused ? problem.message : "The server can't be reached.";
  const place = find(".problem", card.element);
  place.textContent = text;
  place.hidden = false;
  return text;
}

// Fill in what the server says of a photograph, and of what is known beside it; returns it in a sentence.
async function predict(card) {
  const answer = find(".answer", card.element);
  const asked = (card.asked += 1);
  forget(card);
  try {
    if (card.file.size > LARGEST - FORM) throw new Refused(413, `${card.file.name}: more than 10 MB`);
    const { model, known, images } = await ask("predict", card.file, stated(card), card.gone.signal);
    if (asked !== card.asked) return ""; // it was asked anew meanwhile
    card.answer = images[0];
    find(".problem", card.element).hidden = true;
    find(".known", card.element).hidden = !model.takes_metadata;
    find(".show", card.element).hidden = false;
    find('input[name="outline"]', card.element).parentElement.hidden = !model.has_outlines;
    find("#model").textContent = `Model ${model.version}, hash ${model.hash}`;
    explainModel(model);
    answer.replaceChildren(...told(card.answer, known, model));
    drawPair();
    return `${card.file.name}: ${[...answer.querySelectorAll(":scope > p")].map((line) => line.textContent).join(" ")}`;
  } catch (problem) {
    if (asked !== card.asked) return "";
    answer.replaceChildren();
    return fail(card, problem);
  }
}

// What holds for all photographs that this model is asked of.
function explainModel(model) {
  if (model.set_coverage) {
    const share = `${Math.round(100 * model.set_coverage)} %`;
    find("#coverage").textContent = `${share} of new lesions${model.set_by_class ? " of each diagnosis" : ", all diagnoses together,"}`;
  }
  find("#generated").hidden = !model.generated;
  find("#origin").textContent = model.generated
    ? "This model learned from generated images: of skin it knows nothing."
    : model.calibrated
      ? "Calibrated on lesions that had been chosen for dermatoscopy. Elsewhere it is another one."
      : "Not calibrated: it may be far from the share that is right.";
}

// What was said of a photograph is gone, until the server has said it anew.
function forget(card) {
  card.answer = card.explained = null;
  find(".show", card.element).hidden = true;
  for (const name of ["map", "outline"]) find(`input[name="${name}"]`, card.element).checked = false;
  drawOverlays(card);
  find(".answer", card.element).replaceChildren(make("p", { className: "hint", textContent: "Working on it ..." }));
}

// What is known of the patient and the place, as fields of a request.
function stated(card) {
  return Object.fromEntries([...new FormData(find(".known", card.element))].filter(([, value]) => value));
}

// What matters most comes first: whether to believe any of it, then melanoma, then the diagnosis.
function told(found, known, model) {
  const all = [...verdict(found, model), ...beside(known, model), bars(found)];
  if (!found.out_of_distribution) return all;
  const strong = make("strong", { textContent: "Not like a dermatoscopic photograph." });
  const summary = make("summary", { textContent: "What the model computed all the same" });
  return [make("p", { className: "alarm" }, strong, " No diagnosis is given."), make("details", {}, summary, ...all)];
}

function verdict(found, model) {
  const lines = [];
  const line = (className, ...parts) => lines.push(make("p", { className }, ...parts));
  const melanoma = percent(found.probabilities.mel);
  const threshold = percent(model.melanoma_threshold);
  if (found.melanoma_suspected) {
    const strong = make("strong", { textContent: "Melanoma suspected:" });
    line("alarm", strong, ` its probability, ${melanoma}, reaches the threshold of ${threshold}.`);
  }
  line("verdict", `${NAMES[found.predicted]}, probability ${percent(found.confidence)}.`);
  if (found.melanoma_suspected === false) {
    line("hint", `Melanoma has ${melanoma}, under the threshold of ${threshold}; it is not ruled out.`);
  }
  if (found.not_sure) {
    const others = found.diagnoses.map((name) => NAMES[name]).join(", ");
    line("unsure", make("strong", { textContent: "Not sure." }), ` The set holds ${found.diagnoses.length}: ${others}.`);
  } else if (found.diagnoses) {
    line("hint", "One diagnosis in the set, which does not mean sure.");
  } else {
    line("hint", "This model gives no set of diagnoses.");
  }
  return lines;
}

function beside(known, model) {
  if (!model.takes_metadata) return [];
  const facts = [known.age === null ? null : `${known.age} years`, known.sex, known.localization].filter(Boolean);
  const text = facts.length ? `Beside the photograph counts: ${facts.join(", ")}.` : "By the photograph alone.";
  return [make("p", { className: "hint", textContent: text })];
}

function bars(found) {
  const order = Object.keys(found.probabilities).sort((a, b) => found.probabilities[b] - found.probabilities[a]);
  const rows = order.map((name) => {
    const held = found.diagnoses?.includes(name);
    const bar = make("div", { className: "bar" });
    bar.style.width = `${100 * found.probabilities[name]}%`;
    return make(
      "tr",
      { className: held ? "held" : "" },
      make("th", { scope: "row" }, NAMES[name], bar),
      make("td", { className: "number", textContent: percent(found.probabilities[name]) }),
      make("td", { className: "mark", textContent: held ? "✓ yes" : "" }),
    );
  });
  return table("Probability of each diagnosis", ["Diagnosis", "Probability", "In the set"], rows);
}

function table(caption, heads, rows) {
  const cells = heads.map((head) => make("th", { scope: "col", textContent: head }));
  const head = make("thead", {}, make("tr", {}, ...cells));
  return make("table", {}, make("caption", { textContent: caption }), head, make("tbody", {}, ...rows));
}

async function toggled(card, box) {
  if (box.name === "pair") return drawPair(box);
  if (box.checked && !card.explained) {
    say(`Looking where the model looked in ${card.file.name} ...`);
    const { asked } = card;
    try {
      const fields = { ...stated(card), diagnosis: card.answer.predicted };
      const { images } = await ask("explain", card.file, fields, card.gone.signal);
      if (asked !== card.asked) return; // what is known has changed meanwhile
      card.explained = images[0];
      find(".problem", card.element).hidden = true;
      say(`${card.file.name}: the overlay is shown.`);
    } catch (problem) {
      if (asked !== card.asked) return;
      box.checked = false;
      return say(fail(card, problem));
    }
  }
  drawOverlays(card);
}

// The overlays lie on the photograph as the networks saw it, turned and cropped, so that is what is shown.
function drawOverlays(card) {
  const { element, explained } = card;
  const place = find(".photograph", element);
  const shown = (name) => find(`input[name="${name}"]`, element).checked;
  const [map, outline] = [shown("map"), shown("outline") && explained?.outline_png];
  find(".seen", place).src = map || outline ? `data:image/jpeg;base64,${explained.photograph_jpeg}` : card.address;
  place.classList.toggle("mapped", map);
  for (const old of place.querySelectorAll(".over")) old.remove();
  const lay = (picture, alt) => place.append(make("img", { className: "over", src: `data:image/png;base64,${picture}`, alt }));
  if (map) lay(explained.map_png, `Where the model looked for ${NAMES[explained.diagnosis]}: bright areas`);
  if (outline) lay(outline, "The outline of the lesion");
  const seen = "As the model sees it, turned and cropped.";
  const bright = `Bright: what speaks for ${NAMES[explained?.diagnosis]}.`;
  find("figcaption", element).textContent = map ? `${seen} ${bright}` : outline ? seen : "";
  drawPair();
}

// Two photographs side by side; a third one that is chosen takes the place of the one before.
function drawPair(latest) {
  const box = (card) => find('input[name="pair"]', card.element);
  let pair = cards.filter((card) => card.answer && box(card).checked);
  if (pair.length > 2) {
    const drop = pair.find((card) => box(card) !== latest);
    box(drop).checked = false;
    pair = pair.filter((card) => card !== drop);
  }
  const section = find("#pair");
  section.hidden = pair.length !== 2;
  if (latest?.checked) say(pair.length === 2 ? "Two photographs are side by side." : "Choose a second photograph.");
  if (section.hidden) return;
  const pictures = pair.map((card, at) => {
    const picture = find(".photograph", card.element).cloneNode(true);
    return make("figure", {}, picture, make("figcaption", { textContent: `${at + 1}: ${card.file.name}` }));
  });
  find(".pictures", section).replaceChildren(...pictures);
  find(".table", section).replaceChildren(compared(pair.map((card) => card.answer)));
}

function compared(answers) {
  if (answers.some((answer) => answer.out_of_distribution)) {
    const strong = make("strong", { textContent: "One is not like a dermatoscopic photograph." });
    return make("p", { className: "alarm" }, strong, " They are not compared.");
  }
  const mean = (name) => answers.reduce((sum, answer) => sum + answer.probabilities[name], 0);
  const order = Object.keys(NAMES).sort((a, b) => mean(b) - mean(a));
  const cell = (answer, name) => {
    const held = answer.diagnoses?.includes(name);
    const text = `${held ? "✓ " : ""}${percent(answer.probabilities[name])}`;
    return make("td", { className: held ? "mark" : "", textContent: text });
  };
  const rows = order.map((name) => {
    return make("tr", {}, make("th", { scope: "row", textContent: NAMES[name] }), ...answers.map((one) => cell(one, name)));
  });
  const agree = answers[0].predicted === answers[1].predicted;
  const said = agree ? "Both have the same diagnosis" : "They have different diagnoses";
  return table(`${said}. ✓: in the set.`, ["Diagnosis", "Photograph 1", "Photograph 2"], rows);
}

for (const field of [find("#files"), find("#camera")]) {
  field.onchange = () => {
    add(field.files);
    field.value = ""; // the same file may be chosen again
  };
}
const drop = find("#drop");
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault(); // a file that misses the place must not replace the page
    drop.classList.toggle("over", kind === "dragover" && drop.contains(event.target));
    if (kind === "drop") add(event.dataTransfer.files);
  });
}
find("#access").onsubmit = (event) => {
  event.preventDefault();
  token = find("#token").value;
  find("#access").hidden = true;
  for (const card of cards) if (!card.answer) predict(card).then(say);
};
