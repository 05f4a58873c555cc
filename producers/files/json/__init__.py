"""JSON: lines, arrays, records at a path, parallel arrays, GeoJSON."""
