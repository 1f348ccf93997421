package lab

import (
	"fmt"
	"slices"
	"strings"

	"x0tta6bl4/mesh"
)

// drawing is the map.
type drawing struct {
	Nodes  []drawnNode
	Links  []drawnLink
	Routes []drawnRoute
	Names  []drawnName
	Size   string // of a node
	High   string
	Hidden int // names without room
}

type drawnNode struct{ X, Y, Class, Title string }

type drawnName struct{ X, Y, Anchor, Text string }

type drawnLink struct{ X1, Y1, X2, Y2, Class, Title string }

// drawnRoute is the path of one direction of a pair, before or while something was broken.
type drawnRoute struct {
	Pair    int // in the order of the page's pairs; the page shows one at a time
	Class   string
	Path    string
	When    string
	Of      string
	Through string
}

// struckClass tells which links and nodes faults struck.
func (p *Page) struckClass(target string) string {
	for _, f := range p.Report.Faults {
		if f.Target == target {
			return " struck"
		}
	}
	return ""
}

// canvas turns the places of nodes into those of the drawing: one scale for both directions, and only as high as the map
// needs.
func (p *Page) canvas() (tall float64, at func(PageNode) place) {
	low, high, top, bottom := 1.0, 0.0, 1.0, 0.0
	for _, n := range p.Nodes {
		low, high, top, bottom = min(low, n.X), max(high, n.X), min(top, n.Y), max(bottom, n.Y)
	}
	most := min(mapHeight, mapLow+mapHighNode*float64(len(p.Nodes)))
	scale := min((mapWidth-2*mapPadSide)/max(high-low, 1e-9), (most-2*mapPad)/max(bottom-top, 1e-9))
	tall = max((bottom-top)*scale+2*mapPad, 160)
	return tall, func(n PageNode) place {
		return place{mapWidth/2 + (n.X-(low+high)/2)*scale, tall/2 + (n.Y-(top+bottom)/2)*scale}
	}
}

func (p *Page) drawMap() drawing {
	size := 7.0
	if len(p.Nodes) > 30 {
		size = 5.5
	}
	tall, at := p.canvas()
	d := drawing{Size: coord(size), High: coord(tall)}
	c := captions{area: box{2, 2, mapWidth - 2, tall - 2}}
	for _, l := range p.Links {
		a, b := p.Nodes[l.A], p.Nodes[l.B]
		s := segment{at(a), at(b)}
		c.links = append(c.links, s)
		d.Links = append(d.Links, drawnLink{coord(s.a.x), coord(s.a.y), coord(s.b.x), coord(s.b.y), p.linkClass(l), l.title(a, b)})
	}
	for _, n := range p.Nodes {
		q := at(n)
		c.nodes = append(c.nodes, box{q.x - size, q.y - size, q.x + size, q.y + size})
		d.Nodes = append(d.Nodes, drawnNode{coord(q.x), coord(q.y), "node" + p.struckClass("node:"+n.Name) + p.endClass(n.Name), n.Name})
	}
	for _, n := range p.byWeight() {
		name := shortName(n.Name)
		q, ok := c.put(name, at(n), size)
		if !ok {
			d.Hidden++
			continue
		}
		d.Names = append(d.Names, drawnName{coord(q.x), coord(q.y), q.anchor, name})
	}
	d.Routes = p.drawRoutes(at)
	return d
}

func (p *Page) linkClass(l PageLink) string {
	a, b := p.Nodes[l.A].Name, p.Nodes[l.B].Name
	class := "link" + p.struckClass("link:"+a+"-"+b)
	if a != b {
		class += p.struckClass("link:" + b + "-" + a)
	}
	if l.Loss > 0.05 {
		class += " poor"
	}
	return class
}

func (l PageLink) title(a, b PageNode) string {
	title := fmt.Sprintf("%s – %s: %s ms", a.Name, b.Name, number(l.Delay))
	if l.Loss > 0 {
		title += fmt.Sprintf(", loses %.1f %%", 100*l.Loss)
	}
	return title
}

// endClass tells which nodes were probed.
func (p *Page) endClass(name string) string {
	if slices.ContainsFunc(p.Flows, func(f Delivery) bool { return f.From.String() == name || f.To.String() == name }) {
		return " end"
	}
	return ""
}

// byWeight orders the nodes by how much their names matter: those that were probed or struck, those on paths that were
// in use, those with many links.
func (p *Page) byWeight() []PageNode {
	weight := map[string]int{}
	for _, l := range p.Links {
		weight[p.Nodes[l.A].Name]++
		weight[p.Nodes[l.B].Name]++
	}
	for _, r := range p.Routes {
		for _, n := range r.Path {
			weight[n.String()] += 1 << 16
		}
	}
	out := slices.Clone(p.Nodes)
	for _, n := range out {
		if p.endClass(n.Name)+p.struckClass("node:"+n.Name) != "" {
			weight[n.Name] += 1 << 24
		}
	}
	slices.SortStableFunc(out, func(a, b PageNode) int { return weight[b.Name] - weight[a.Name] })
	return out
}

// drawRoutes draws the paths that were in use.
func (p *Page) drawRoutes(at func(PageNode) place) (out []drawnRoute) {
	where := map[string]place{}
	for _, n := range p.Nodes {
		where[n.Name] = at(n)
	}
	var pairs []string
	for _, r := range p.Routes {
		d := drawnRoute{Class: "while", When: r.When, Of: r.From.String() + " → " + r.To.String(), Through: through(r.Path)}
		if r.When == beforeAll {
			d.Class = "before"
		}
		if d.Pair = slices.Index(pairs, d.Of); d.Pair < 0 {
			d.Pair = len(pairs)
			pairs = append(pairs, d.Of)
		}
		var b strings.Builder
		for i, n := range r.Path {
			q := where[n.String()]
			fmt.Fprintf(&b, "%c%s %s", "ML"[min(i, 1)], coord(q.x), coord(q.y))
		}
		d.Path = b.String()
		out = append(out, d)
	}
	slices.SortStableFunc(out, func(a, b drawnRoute) int { return a.Pair - b.Pair })
	return out
}

func through(path []mesh.NodeID) string {
	var s []string
	for _, n := range path {
		s = append(s, n.String())
	}
	return strings.Join(s, " ")
}
