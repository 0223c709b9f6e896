// How search ranks what it finds: Sphinx's own points, and more for a page that teaches a job than for a name of the API.
var Scorer = {
  score: (result) => {
    const [page, , , , points] = result;
    if (page.startsWith("jobs/")) return points + 20;
    return page.startsWith("guides/") ? points + 10 : points;
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
