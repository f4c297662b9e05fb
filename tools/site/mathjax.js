// Formulas: only what the notebooks mark as a formula, and without MathJax' menu, which would load more files.
window.MathJax = {
  options: { enableMenu: false, processHtmlClass: "tex2jax_process|mathjax_process|math|output_area" },
  startup: {
    pageReady: () =>
      MathJax.startup.defaultPageReady().then(() => {
        // A wide formula scrolls inside its box. With a keyboard, one gets there with Tab.
        for (const formula of document.querySelectorAll("mjx-container[display]")) formula.tabIndex = 0;
      }),
  },
};
