// Package campaign
package campaign
