// Draws every plot of the page from the JSON beside it, in the colors of the reader's scheme, and again when that changes.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const axis = (grid) => ({ gridcolor: grid, linecolor: grid, zerolinecolor: grid, tickcolor: grid });
  const template = () => {
    const grid = dark.matches ? "#343944" : "#dcdfe6";
    const font = { color: dark.matches ? "#e7e9ee" : "#1f2430", family: "system-ui, sans-serif", size: 12 };
    return { layout: { font, xaxis: axis(grid), yaxis: axis(grid) } };
  };
  const draw = () => {
    for (const source of document.querySelectorAll("script[data-plot]")) {
      const plot = JSON.parse(source.textContent);
      const layout = { ...plot.layout, template: template(), autosize: true };
      for (const name of Object.keys(layout)) if (/^[xy]axis/.test(name)) layout[name] = { ...layout[name], automargin: true };
      const config = { displaylogo: false, responsive: true, toImageButtonOptions: { format: "svg", filename: source.dataset.plot } };
      Plotly.react(source.dataset.plot, plot.data, layout, config);
    }
  };
  draw();
  dark.addEventListener("change", draw);
})();
