// "Predict your own stars": rate a few films, see predictions and where each comes from. It computes what fold_in
// of course_utils/ranking.py computes (notebook 08), on the vectors in COURSE_MODEL. Nothing leaves this page.
"use strict";

const Predictor = {
  // Read the vectors: row i belongs to movie i, row 0 to none.
  load(source) {
    const numbers = (text) => new Float32Array(Uint8Array.from(atob(text), (byte) => byte.charCodeAt(0)).buffer);
    return { ...source, Q: numbers(source.Q), b_i: numbers(source.b_i) };
  },

  // The row (Q_i, 1): a user's vector and bias times this is what the user adds to mu + b_i.
  row(model, movie) {
    return [...model.Q.subarray(movie * model.K, (movie + 1) * model.K), 1];
  },

  // Solve a linear system by elimination. The matrix is small, symmetric and, with the penalty, never singular.
  solve(matrix, right) {
    const n = right.length, rows = matrix.map((row, i) => [...row, right[i]]);
    for (let step = 0; step < n; step++) {
      let best = step;
      for (let i = step + 1; i < n; i++) if (Math.abs(rows[i][step]) > Math.abs(rows[best][step])) best = i;
      [rows[step], rows[best]] = [rows[best], rows[step]];
      for (let i = step + 1; i < n; i++) {
        const factor = rows[i][step] / rows[step][step];
        for (let j = step; j <= n; j++) rows[i][j] -= factor * rows[step][j];
      }
    }
    for (let i = n - 1; i >= 0; i--) {
      for (let j = i + 1; j < n; j++) rows[i][n] -= rows[i][j] * rows[j][n];
      rows[i][n] /= rows[i][i];
    }
    return rows.map((row) => row[n]);
  },

  // The matrix X'X + n * penalty of a profile: a list of [movie, stars].
  normal(model, profile) {
    const X = profile.map(([movie]) => this.row(model, movie)), size = model.K + 1;
    return [...Array(size).keys()].map((i) =>
      [...Array(size).keys()].map((j) => {
        const penalty = i !== j ? 0 : i < model.K ? model.l2 : model.biasL2;
        return X.reduce((sum, row) => sum + row[i] * row[j], profile.length * penalty);
      }),
    );
  },

  // How far the stars of a rated film lie above or below mu + b_i.
  left(model, [movie, stars]) {
    return stars - model.mu - model.b_i[movie];
  },

  // Return the user's vector p and bias b, as fold_in does.
  foldIn(model, profile) {
    const right = Array(model.K + 1).fill(0);
    for (const rated of profile) {
      this.row(model, rated[0]).forEach((x, i) => (right[i] += x * this.left(model, rated)));
    }
    const solution = this.solve(this.normal(model, profile), right);
    return { p: solution.slice(0, model.K), b: solution[model.K] };
  },

  // Predicted stars for all movies; without a profile, what everybody gets: mu + b_i.
  predictAll(model, profile) {
    const { p, b } = profile.length ? this.foldIn(model, profile) : { p: Array(model.K).fill(0), b: 0 };
    return Array.from(model.b_i, (bias, movie) => {
      let sum = model.mu + bias + b;
      for (let k = 0; k < model.K; k++) sum += p[k] * model.Q[movie * model.K + k];
      return sum;
    });
  },

  // The parts of one prediction. The solution is a sum with one term for each rated film, so the prediction is too:
  // mu + b_i + one number for each film in the profile.
  explain(model, profile, movie) {
    if (!profile.length) return [];
    const weights = this.solve(this.normal(model, profile), this.row(model, movie));
    return profile.map((rated) => {
      const share = this.row(model, rated[0]).reduce((sum, x, i) => sum + x * weights[i], 0);
      return { movie: rated[0], stars: rated[1], part: share * this.left(model, rated) };
    });
  },
};

function startPredictor(place, model) {
  const START = [50, 313, 288, 100, 71]; // the films of notebook 04
  const LEAST = 50; // a list only names films with as many ratings; see notebook 08
  const LONG = 6;
  const number = new Map(model.titles.map((title, movie) => [title, movie]).filter(([title]) => title));
  const films = START.map((movie) => ({ movie, stars: 0 }));
  const make = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };
  const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
  const cut = (value) => Math.min(5, Math.max(1, value));

  place.append(
    make("datalist", { id: "films" }, ...[...number.keys()].sort().map((value) => make("option", { value }))),
  );

  // A field for a film: what was typed must be a title.
  function filmField(label, movie, choose) {
    const field = make("input", { type: "text", value: model.titles[movie] || "", autocomplete: "off" });
    field.setAttribute("list", "films");
    field.setAttribute("aria-label", label);
    field.addEventListener("focus", () => field.select());
    field.addEventListener("change", () => {
      const chosen = number.get(field.value.trim());
      field.setAttribute("aria-invalid", String(!chosen));
      status.textContent = chosen ? "" : `No film is called "${field.value}". Pick one from the list.`;
      if (chosen) choose(chosen);
    });
    return field;
  }

  const status = make("p", { className: "predict-status" });
  status.setAttribute("role", "status");
  const mine = make("div", { className: "predict-mine" });
  const list = make("ol", { className: "predict-list" });
  const answer = make("div", { className: "predict-answer" });
  let asked = 0;

  function drawMine() {
    mine.replaceChildren(
      ...films.map((film, place) => {
        const stars = make("span", { className: "stars" });
        stars.setAttribute("role", "radiogroup");
        stars.setAttribute("aria-label", `Stars for ${model.titles[film.movie]}`);
        for (let value = 1; value <= 5; value++) {
          const radio = make("input", { type: "radio", name: `stars-${place}`, value, checked: value === film.stars });
          radio.setAttribute("aria-label", value === 1 ? "1 star" : `${value} stars`);
          radio.addEventListener("change", () => {
            film.stars = value;
            paint();
            drawPredictions();
          });
          stars.append(make("label", {}, radio, make("span", { textContent: "★", ariaHidden: "true" })));
        }
        const paint = () =>
          [...stars.children].forEach((label, i) => label.classList.toggle("on", i < film.stars));
        paint();
        const field = filmField(`Film ${place + 1}`, film.movie, (chosen) => {
          if (films.some((other) => other !== film && other.movie === chosen)) {
            status.textContent = `${model.titles[chosen]} is in your list already.`;
            field.value = model.titles[film.movie];
            return;
          }
          Object.assign(film, { movie: chosen, stars: 0 });
          drawMine();
          drawPredictions();
        });
        return make("div", { className: "predict-film" }, field, stars);
      }),
    );
  }

  function why(movie, profile) {
    const parts = [
      { text: "mean of all ratings", part: model.mu },
      { text: "this film, for everybody", part: model.b_i[movie] },
      ...Predictor.explain(model, profile, movie)
        .sort((a, b) => Math.abs(b.part) - Math.abs(a.part))
        .map((one) => ({ text: `your ${one.stars} ★ for ${model.titles[one.movie]}`, part: one.part })),
    ];
    const rows = parts.map(({ text, part }, i) => {
      const cell = make("td", { textContent: i ? signed(part) : part.toFixed(2) });
      cell.className = i && part < 0 ? "minus" : "plus";
      return make("tr", {}, cell, make("td", { textContent: text }));
    });
    const sum = parts.reduce((total, { part }) => total + part, 0);
    const cutNote = sum === cut(sum) ? "" : `, cut to ${cut(sum)}`;
    rows.push(make("tr", { className: "sum" }, make("td", { textContent: sum.toFixed(2) }), make("td", { textContent: `together${cutNote}` })));
    return make("table", {}, make("tbody", {}, ...rows));
  }

  function drawPredictions() {
    const profile = films.filter((film) => film.stars).map((film) => [film.movie, film.stars]);
    const predicted = Predictor.predictAll(model, profile);
    const rated = new Set(profile.map(([movie]) => movie));
    const open = new Set([...list.querySelectorAll("details[open]")].map((one) => one.dataset.movie));
    const best = predicted
      .map((stars, movie) => ({ movie, stars }))
      .filter(({ movie }) => movie && !rated.has(movie) && model.counts[movie] >= LEAST)
      .sort((a, b) => b.stars - a.stars)
      .slice(0, LONG);
    list.replaceChildren(
      ...best.map(({ movie, stars }) => {
        const head = make("summary", {},
          make("span", { className: "film", textContent: model.titles[movie] }),
          make("span", { className: "value", textContent: `${cut(stars).toFixed(2)} ★` }));
        const details = make("details", {}, head, why(movie, profile));
        details.dataset.movie = movie;
        details.open = open.has(String(movie));
        return make("li", {}, details);
      }),
    );
    status.textContent = profile.length
      ? `From ${profile.length} ${profile.length === 1 ? "rating" : "ratings"} of yours. Open a film to see why.`
      : "So far, this is what everybody gets. Give a film your stars and watch the list change.";
    answer.replaceChildren();
    if (asked) {
      const mark = make("p", {}, "You would give it ", make("strong", { textContent: `${cut(predicted[asked]).toFixed(2)} ★` }));
      answer.append(mark, why(asked, profile));
    }
  }

  const clear = make("button", { type: "button", textContent: "Clear my stars" });
  clear.addEventListener("click", () => {
    films.forEach((film) => (film.stars = 0));
    drawMine();
    drawPredictions();
  });
  const ask = filmField("Any other film", 0, (chosen) => {
    asked = chosen;
    drawPredictions();
  });
  ask.placeholder = "Type any title of 1998 or before";
  place.append(
    make("section", {}, make("h3", { textContent: "Your stars" }), mine,
      make("p", { className: "predict-hint" }, "Not your films? Type another title over one. ", clear)),
    make("section", {}, make("h3", { textContent: "You would like" }), status, list,
      make("label", { className: "predict-ask" }, "And what would you give … ", ask), answer),
  );
  drawMine();
  drawPredictions();
}

document.addEventListener("DOMContentLoaded", () => {
  const place = document.getElementById("predict");
  if (place && window.COURSE_MODEL) startPredictor(place, Predictor.load(window.COURSE_MODEL));
});
