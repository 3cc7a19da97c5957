// What the pages do beyond plain HTML. Everything works without it: by a button, or by loading the page again.
"use strict";

(() => {
  const every = (selector, act, root = document) => root.querySelectorAll(selector).forEach(act);

  // Narrow screens: the navigation opens and closes.
  every("button.menu", (button) => {
    const nav = document.getElementById("navigation");
    const show = (open) => {
      button.setAttribute("aria-expanded", String(open));
      nav.classList.toggle("closed", !open);
    };
    button.hidden = false;
    show(false);
    button.addEventListener("click", () => show(button.getAttribute("aria-expanded") !== "true"));
    nav.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { show(false); button.focus(); }
    });
  });

  // A form that only needs a click is sent at once.
  every("form[data-send]", (form) => form.requestSubmit());

  const enliven = (root) => {
    // Filters: choosing is asking. The address says what is chosen, so it can be kept.
    every("form[data-ask]", (form) => {
      form.addEventListener("change", () => form.requestSubmit());
    }, root);
    // A form is sent once.
    every("form[method=post]", (form) => {
      form.addEventListener("submit", () => {
        window.setTimeout(() => every("button", (button) => { button.disabled = true; }, form), 0);
      });
    }, root);
    // Fields that are empty would only lengthen the address.
    every("form[method=get]", (form) => {
      form.addEventListener("submit", () => {
        every("input, select", (field) => { if (!field.value) field.disabled = true; }, form);
      });
    }, root);
    every("[data-copy]", (button) => {
      button.hidden = false;
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim());
        button.textContent = "Copied";
      });
    }, root);
  };
  enliven(document);

  // One open form at a time; Escape closes it.
  document.addEventListener("toggle", (event) => {
    const opened = event.target;
    if (!(opened instanceof HTMLElement) || !opened.matches("details.act") || !opened.open) return;
    every("details.act[open]", (other) => { if (other !== opened) other.open = false; });
    opened.querySelector("input:not([type=hidden]), select, textarea")?.focus();
  }, true);
  document.addEventListener("keydown", (event) => {
    const open = event.key === "Escape" && event.target instanceof Element && event.target.closest("details.act[open]");
    if (open) { open.open = false; open.querySelector("summary").focus(); }
  });

  // Live parts: <section id="job" data-live="1000"> is fetched again every so many milliseconds, from the address that
  // the page has, until it comes without data-live. Nothing is replaced while somebody is typing in it.
  const watch = (id) => {
    const part = document.getElementById(id);
    const pause = Number(part?.dataset.live);
    if (!part || !pause) return;
    window.setTimeout(async () => {
      let next = id;
      try {
        if (!document.hidden && !part.querySelector("details.act[open]")) {
          const answer = await fetch(window.location.href, { headers: { "x-live": id }, credentials: "same-origin" });
          if (answer.redirected || answer.status === 401) { window.location.reload(); return; }
          if (answer.ok) next = replace(part, await answer.text());
        }
      } catch { /* the server is away: ask again */ }
      if (next) watch(next);
    }, pause);
  };
  const replace = (part, text) => {
    const fresh = new DOMParser().parseFromString(text, "text/html").getElementById(part.id);
    if (!fresh) return null;
    if (fresh.outerHTML === part.outerHTML) return part.id;
    const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
    const kept = document.importNode(fresh, true);
    part.replaceWith(kept);
    enliven(kept);
    if (focused) document.getElementById(focused)?.focus();
    return part.id;
  };
  every("[data-live][id]", (part) => watch(part.id));
})();
